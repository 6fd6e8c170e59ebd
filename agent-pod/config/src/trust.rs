//! What a pod trusts: the cluster's keys for service-account tokens.

use serde::{Deserialize, Serialize};

/// How a pod verifies tokens without asking anybody.
///
/// It stands beside the document, not in it: it comes from the cluster, so that the document stays the same for the
/// same resources everywhere, and it is readable when a document is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trust {
    /// The `iss` of the cluster's tokens.
    pub issuer: String,
    /// The `aud` that a token must carry: [`Trust::AUDIENCE`].
    pub audience: String,
    /// The cluster's JSON Web Key Set (RFC 7517).
    pub jwks: serde_json::Value,
    /// The operator's own `sub`, which may read the pod's state.
    pub operator: String,
}

impl Trust {
    /// The audience of every token that pods accept. The API server does not accept it.
    pub const AUDIENCE: &'static str = "astromesh";

    /// The text for the ConfigMap; the same trust gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("trust has string keys and finite numbers only")
    }

    /// Reads what [`Trust::to_bytes`] wrote.
    ///
    /// # Errors
    /// One sentence with line and column.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}
