//! Who the pods are. They have no business with the Kubernetes API, so no token for it is mounted.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{Validated, metadata};

pub(super) fn build(agent: &Validated) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(agent),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
