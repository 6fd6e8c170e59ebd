//! What turns texts into vectors.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::EmbeddingsDocument;
use agent_pod_core::embedding::{Embedding, Pace};
use agent_pod_infra::model::embeddings::{Embeddings, EmbeddingsProtocol};
use agent_pod_infra::model::server::{AuthScheme, AuthSettings, ServerSettings, ServerSettingsError};
use agent_pod_infra::secret::{SecretId, SecretStore};
use astromesh_crds::v1alpha1 as crd;

/// How long connecting may take. A run waits no longer for its memory.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How the models in use are called, those that some agent has: who calls the same one shares its pace, and a reload
/// gives nobody more of it.
#[derive(Default)]
pub(super) struct Paces(Vec<(EmbeddingsDocument, Pace)>);

impl Paces {
    fn of(&mut self, document: &EmbeddingsDocument) -> Pace {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| known == document) {
            return known.clone();
        }
        self.0.retain(|(_, pace)| pace.is_used());
        let pace = Pace::default();
        self.0.push((document.clone(), pace.clone()));
        pace
    }
}

pub(super) fn embedding(
    secrets: &SecretStore,
    document: &EmbeddingsDocument,
    paces: &mut Paces,
) -> Result<Embedding, ServerSettingsError> {
    let EmbeddingsDocument { provider, model, endpoint, auth, dimension, batch_size } = document;
    let auth = auth.as_ref().and_then(|auth| {
        let scheme = match auth.scheme {
            crd::AuthScheme::Bearer => AuthScheme::Bearer,
            crd::AuthScheme::Header => AuthScheme::Header(auth.header.clone().unwrap_or_default()),
            crd::AuthScheme::None => return None,
        };
        let id = SecretId { name: auth.secret.name.clone(), key: auth.secret.key.clone() };
        Some(AuthSettings { scheme, secret: secrets.handle(&id) })
    });
    let settings = ServerSettings {
        endpoint: endpoint.clone(),
        auth,
        headers: Vec::new(),
        tls: None,
        connect_timeout: CONNECT_TIMEOUT,
    };
    let protocol = match provider {
        crd::EmbeddingsProvider::OpenaiCompat => EmbeddingsProtocol::OpenAi,
        crd::EmbeddingsProvider::Ollama => EmbeddingsProtocol::Ollama,
    };
    Ok(Embedding {
        port: Arc::new(Embeddings::new(protocol, model.clone(), &settings)?),
        model: model.clone(),
        dimension: usize::try_from(*dimension).unwrap_or(usize::MAX),
        batch_max: usize::try_from(*batch_size).unwrap_or(usize::MAX),
        pace: paces.of(document),
    })
}
