//! The connections of a store, made of a URL that may change.

use std::sync::{Arc, Mutex, PoisonError};

use agent_pod_core::memory::StoreError;
use secrecy::{ExposeSecret as _, SecretString};

use crate::secret::SecretHandle;

/// The connections to the server that a Secret names: made when they are first asked for, anew when the URL changes.
pub(super) struct Connected<C> {
    url: SecretHandle,
    current: Mutex<Option<(SecretString, Arc<C>)>>,
}

impl<C> Connected<C> {
    pub(super) fn new(url: SecretHandle) -> Self {
        Self { url, current: Mutex::new(None) }
    }

    /// The connections of now. `connect` opens none yet: it is called under a lock.
    pub(super) fn get(&self, connect: impl FnOnce(&str) -> Result<C, StoreError>) -> Result<Arc<C>, StoreError> {
        let missing = || {
            let id = self.url.id();
            StoreError(format!("key `{}` of Secret `{}` is missing", id.key, id.name))
        };
        let url = self.url.get().ok_or_else(missing)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, connections)) = current.as_ref()
            && known.expose_secret() == url.expose_secret()
        {
            return Ok(Arc::clone(connections));
        }
        let connections = Arc::new(connect(url.expose_secret().trim())?);
        *current = Some((url, Arc::clone(&connections)));
        Ok(connections)
    }
}
