//! The owner of the Lease: the operator's own service account. The role goes before the pod when a release is
//! uninstalled, so a pod cannot give its Lease back; the garbage collector takes it away with the account instead.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use serde::Deserialize;

/// Why it is not known who this process is.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// There is no token.
    #[error("failed to read the token for the API server")]
    Read(#[source] std::io::Error),
    /// It is not what Kubernetes gives to pods.
    #[error("the token for the API server is not that of a service account: {0}")]
    Malformed(&'static str),
    /// An owner lives where its dependents do.
    #[error(
        "the token for the API server is that of an account in namespace `{found}`, and the lease is in `{wanted}`"
    )]
    Elsewhere {
        /// Where the account is.
        found: String,
        /// Where the Lease is.
        wanted: String,
    },
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Account,
}

#[derive(Deserialize)]
struct Account {
    name: String,
    uid: String,
}

/// A reference to the account in `namespace` whose token is in the file. The token is not verified: it is our own.
///
/// # Errors
/// When there is no such token, or the account is in another namespace.
pub fn owner(token_file: &Path, namespace: &str) -> Result<OwnerReference, OwnerError> {
    let token = std::fs::read_to_string(token_file).map_err(OwnerError::Read)?;
    let claims = token.split('.').nth(1).ok_or(OwnerError::Malformed("it has no claims"))?;
    let claims =
        URL_SAFE_NO_PAD.decode(claims).map_err(|_invalid| OwnerError::Malformed("its claims are no base64"))?;
    let Claims { kubernetes } = serde_json::from_slice(&claims)
        .map_err(|_invalid| OwnerError::Malformed("its claims name no account with a uid"))?;
    if kubernetes.namespace != namespace {
        return Err(OwnerError::Elsewhere { found: kubernetes.namespace, wanted: namespace.to_owned() });
    }
    Ok(OwnerReference {
        api_version: ServiceAccount::api_version(&()).into_owned(),
        kind: ServiceAccount::kind(&()).into_owned(),
        name: kubernetes.serviceaccount.name,
        uid: kubernetes.serviceaccount.uid,
        ..OwnerReference::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn owner_of(claims: &Value) -> Result<OwnerReference, OwnerError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.{}", part(&json!({"alg": "RS256"})), part(claims), "c2lnbmF0dXJl");
        std::fs::write(file.path(), token).unwrap();
        owner(file.path(), "astromesh-system")
    }

    fn claims(namespace: &str) -> Value {
        json!({
            "aud": ["https://kubernetes.default.svc"], "sub": format!("system:serviceaccount:{namespace}:operator"),
            "kubernetes.io": {
                "namespace": namespace, "pod": {"name": "operator-0", "uid": "of-the-pod"},
                "serviceaccount": {"name": "operator", "uid": "of-the-account"},
            },
        })
    }

    #[test]
    fn the_account_of_the_token_owns_the_lease() {
        let owner = owner_of(&claims("astromesh-system")).unwrap();
        assert_eq!(
            serde_json::to_value(owner).unwrap(),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "name": "operator", "uid": "of-the-account"})
        );
    }

    #[test]
    fn an_account_of_another_namespace_cannot_own_it() {
        let error = owner_of(&claims("default")).unwrap_err().to_string();
        assert!(error.contains("`default`") && error.contains("`astromesh-system`"), "{error}");
    }

    #[test]
    fn what_is_no_token_of_an_account_names_no_owner() {
        assert!(matches!(owner_of(&json!({"sub": "somebody"})), Err(OwnerError::Malformed(_))));
        assert!(matches!(owner(Path::new("/nowhere/token"), "x"), Err(OwnerError::Read(_))));
        let file = tempfile::NamedTempFile::new().unwrap();
        for token in ["", "opaque", "a.%.c"] {
            std::fs::write(file.path(), token).unwrap();
            assert!(matches!(owner(file.path(), "x"), Err(OwnerError::Malformed(_))), "{token}");
        }
    }
}
