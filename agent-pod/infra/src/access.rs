//! Verifies service-account tokens offline, with the cluster's public keys.
//!
//! Kubernetes issues them as JSON Web Tokens (RFC 7519) and publishes the keys as a JSON Web Key Set (RFC 7517). Who
//! signed decides which algorithms are possible: an RSA key verifies RS256, RS384 and RS512, a P-256 key ES256 and a P-384 key
//! ES384. A token's own word for its algorithm only chooses among these, so neither `none` nor an HMAC made from a
//! public key can pass.

mod cache;
mod keys;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_pod_core::access::{Caller, TokenVerifier};
use agent_pod_core::error::{ErrorCode, RunError};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{decode, decode_header};
use serde::Deserialize;

use cache::Cache;
pub use keys::JwksError;
use keys::Keys;

/// How far the clocks of this node and of the API server may differ, for `exp` and `nbf`.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The most bytes of a token. Those of Kubernetes have about 1 KiB; more is not worth hashing.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Verifies tokens of one issuer for one audience.
pub struct JwksVerifier {
    keys: Keys,
    audience: String,
    cache: Cache,
    // Seconds since 1970; the system's clock but in tests.
    clock: fn() -> u64,
}

/// Verifies nothing: for places that have no cluster and hence no keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVerifier;

/// What a token says. `iss` and `aud` are checked by the library.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    nbf: Option<u64>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed,
    UnknownKey,
    Signature,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
    NotAServiceAccount,
}

impl JwksVerifier {
    /// Verifies tokens of `issuer` for `audience` with the keys of the JSON Web Key Set `jwks`.
    ///
    /// # Errors
    /// When `jwks` is not a key set or holds no key that could verify a token.
    pub fn new(issuer: &str, audience: &str, jwks: &str) -> Result<Self, JwksError> {
        let keys = Keys::parse(jwks, issuer, audience)?;
        Ok(Self { keys, audience: audience.to_owned(), cache: Cache::default(), clock: unix_now })
    }

    fn check(&self, token: &str) -> Result<Caller, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        let now = (self.clock)();
        let digest = Cache::digest(token);
        if let Some(caller) = self.cache.get(&digest, now) {
            return Ok(caller);
        }
        let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
        let key = header.kid.as_deref().and_then(|kid| self.keys.get(kid)).ok_or(Refusal::UnknownKey)?;
        let claims = decode::<Claims>(token, &key.decoding, &key.validation).map_err(|error| refusal(&error))?.claims;
        let leeway = LEEWAY.as_secs();
        if claims.exp.saturating_add(leeway) <= now {
            return Err(Refusal::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(leeway)) {
            return Err(Refusal::NotYetValid);
        }
        let caller = service_account(&claims.sub).ok_or(Refusal::NotAServiceAccount)?;
        self.cache.put(digest, caller.clone(), claims.exp.saturating_add(leeway), now);
        Ok(caller)
    }

    fn sentence(&self, refusal: Refusal) -> String {
        let audience = &self.audience;
        match refusal {
            Refusal::Malformed => format!(
                "the token is malformed; send a service-account token of audience `{audience}` as it was issued"
            ),
            Refusal::UnknownKey => {
                "the token is signed by an unknown key; use a token of the cluster that this agent runs in".to_owned()
            }
            Refusal::Signature => {
                "the token's signature does not verify; use a token of the cluster that this agent runs in".to_owned()
            }
            Refusal::Expired => "the token has expired; read a projected token again before each call".to_owned(),
            Refusal::NotYetValid => "the token is not valid yet; compare the clocks of the nodes".to_owned(),
            Refusal::Issuer => {
                "the token has the wrong issuer; use a token of the cluster that this agent runs in".to_owned()
            }
            Refusal::Audience => {
                format!("the token has the wrong audience; ask for a service-account token of audience `{audience}`")
            }
            Refusal::NotAServiceAccount => format!(
                "the token is not that of a service account; ask for a service-account token of audience `{audience}`"
            ),
        }
    }
}

impl TokenVerifier for JwksVerifier {
    fn verify(&self, token: &str) -> Result<Caller, RunError> {
        self.check(token).map_err(|refusal| RunError::new(ErrorCode::Unauthenticated, self.sentence(refusal)))
    }
}

impl TokenVerifier for NoVerifier {
    fn verify(&self, _token: &str) -> Result<Caller, RunError> {
        Err(RunError::new(
            ErrorCode::Unauthenticated,
            "this runtime has no cluster keys to verify tokens with; run the agent in a cluster, or set its spec.access to \
             mode `none`",
        ))
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum is not exhaustive")]
fn refusal(error: &jsonwebtoken::errors::Error) -> Refusal {
    match error.kind() {
        ErrorKind::InvalidSignature => Refusal::Signature,
        // The header asks for an algorithm that the key is not for.
        ErrorKind::InvalidAlgorithm => Refusal::Signature,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Refusal::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Refusal::Issuer,
        _ => Refusal::Malformed,
    }
}

/// The caller named by `system:serviceaccount:<namespace>:<name>`.
fn service_account(subject: &str) -> Option<Caller> {
    let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let good = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
    good.then(|| Caller { namespace: namespace.to_owned(), service_account: name.to_owned() })
}

/// Seconds since 1970. A clock that stands before 1970 makes every token not yet valid.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
