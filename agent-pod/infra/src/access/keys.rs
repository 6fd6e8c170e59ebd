//! The public keys of a cluster, each with what it may verify.

use std::collections::HashMap;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

/// A key set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The text is not a key set.
    #[error("not a JSON Web Key Set; expected the answer of the API server's `/openid/v1/jwks`")]
    Parse(#[source] serde_json::Error),
    /// A key is broken.
    #[error("failed to read the key `{kid}` of the JSON Web Key Set")]
    Key {
        /// Its id.
        kid: String,
        /// What is wrong with it.
        source: jsonwebtoken::errors::Error,
    },
    /// No key has an id and is an RSA, P-256 or P-384 key for signatures.
    #[error("the JSON Web Key Set holds no RSA or EC key for signatures")]
    Empty,
}

/// Keys by their ids.
pub(super) struct Keys(HashMap<String, Key>);

/// A key and the checks of a token that it has signed.
pub(super) struct Key {
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
}

impl Keys {
    pub(super) fn parse(jwks: &str, issuer: &str, audience: &str) -> Result<Self, JwksError> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(JwksError::Parse)?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let algorithms = algorithms(jwk);
            let Some(kid) = jwk.common.key_id.clone().filter(|_| !algorithms.is_empty()) else { continue };
            let decoding = DecodingKey::from_jwk(jwk).map_err(|source| JwksError::Key { kid: kid.clone(), source })?;
            keys.insert(kid, Key { decoding, validation: validation(algorithms, issuer, audience) });
        }
        if keys.is_empty() { Err(JwksError::Empty) } else { Ok(Self(keys)) }
    }

    pub(super) fn get(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }
}

/// What a key may verify by its type, narrowed by its `alg` where it has one.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return Vec::new();
    }
    let mut algorithms = by_type(&jwk.algorithm);
    if let Some(only) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| jsonwebtoken::jwk::KeyAlgorithm::from(*algorithm) == only);
    }
    algorithms
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums are not exhaustive")]
fn by_type(parameters: &AlgorithmParameters) -> Vec<Algorithm> {
    match parameters {
        AlgorithmParameters::RSA(_) => vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn validation(algorithms: Vec<Algorithm>, issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation { algorithms, ..Validation::default() };
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The verifier checks `exp` and `nbf` itself, for a remembered token by the same rule as for a fresh one.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}
