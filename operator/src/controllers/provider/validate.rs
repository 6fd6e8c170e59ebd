//! Whether a Provider is valid by itself, as the compiler of documents sees it. Pure.

use agent_pod_config::SecretKey;
use astromesh_crds::v1alpha1::Provider;

pub use agent_pod_config::provider_problem as problem;

/// The Secret keys that the provider needs.
#[must_use]
pub fn secrets(provider: &Provider) -> Vec<SecretKey> {
    let secret = |reference: &astromesh_crds::v1alpha1::SecretKeyRef| SecretKey {
        name: reference.name.clone(),
        key: reference.key.clone(),
    };
    provider.spec.secrets().map(secret).collect()
}
