//! The cluster's keys for service-account tokens, as pods get them.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::{Trust, revision_of};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use kube::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the keys are asked for. Clusters keep an old key for at least as long as its tokens live.
const PERIOD: Duration = Duration::from_secs(300);
/// Up to this much later, so that many operators do not ask together.
const JITTER_SECONDS: u64 = 30;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// A key set has a handful of keys; more than this is none.
const BYTES_MAX: usize = 256 * 1024;

/// The trust as it stands in the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// The text.
    pub text: String,
    /// SHA-256 of the text: pods report which one they use.
    pub revision: String,
}

impl TrustBundle {
    /// The text of a trust.
    ///
    /// # Errors
    /// When the text is not UTF-8, which JSON always is.
    pub fn new(trust: &Trust) -> Result<Self, TrustError> {
        let bytes = trust.to_bytes();
        let revision = revision_of(&bytes);
        let text = String::from_utf8(bytes).map_err(|_invalid| TrustError::Malformed("it is not UTF-8"))?;
        Ok(Self { text, revision })
    }
}

impl TrustBundle {
    /// The bundle of a text that was applied before.
    #[must_use]
    pub fn of_text(text: String) -> Self {
        Self { revision: revision_of(text.as_bytes()), text }
    }
}

/// What is known of the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TrustState {
    /// They have not been read yet: nothing is reconciled.
    #[default]
    Unknown,
    /// The operator may not read them, and has never been able to: what needs them says so.
    Denied(String),
    /// These are they.
    Known(Arc<TrustBundle>),
}

impl TrustState {
    /// The keys, if they are known.
    #[must_use]
    pub fn known(&self) -> Option<Arc<TrustBundle>> {
        match self {
            Self::Known(bundle) => Some(Arc::clone(bundle)),
            Self::Unknown | Self::Denied(_) => None,
        }
    }
}

/// Why the keys are not known.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The request could not be built.
    #[error("failed to build the request for `{path}`")]
    Request {
        /// What was asked for.
        path: &'static str,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The API server did not answer with success.
    #[error("failed to read `{path}` from the API server")]
    Fetch {
        /// What was asked for.
        path: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("the API server did not answer `{path}` in time")]
    Timeout {
        /// What was asked for.
        path: &'static str,
    },
    /// The answer is not what the standard says.
    #[error("the API server's token keys are not usable: {0}")]
    Malformed(&'static str),
}

/// Watches the cluster's keys.
pub struct Keeper {
    /// The API server.
    pub client: Client,
    /// The operator's own `sub`.
    pub subject: String,
    /// Where a change is told.
    pub sender: watch::Sender<TrustState>,
}

impl Keeper {
    /// Reads the keys now and then, until `stop`. A failure keeps what is known.
    pub async fn run(self, stop: CancellationToken) {
        let retry = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(30))
            .with_jitter()
            .without_max_times();
        let mut failures = retry.build();
        loop {
            let wait = match fetch(&self.client, &self.subject).await {
                Ok(bundle) => {
                    failures = retry.build();
                    self.publish(bundle);
                    jittered(&self.subject)
                }
                Err(error) => {
                    self.failed(&error);
                    tracing::warn!(error = %crate::telemetry::chain(&error), "token keys not read, keeping what is known");
                    failures.next().unwrap_or(PERIOD)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn publish(&self, bundle: TrustBundle) {
        self.sender.send_if_modified(|known| {
            let changed = known.known().as_deref() != Some(&bundle);
            if changed {
                tracing::info!(revision = %bundle.revision, "token keys read");
                *known = TrustState::Known(Arc::new(bundle));
            }
            changed
        });
    }

    /// A missing permission is told, unless the keys are known from before.
    fn failed(&self, error: &TrustError) {
        let TrustError::Fetch { path, source } = error else { return };
        let kube::Error::Api(status) = source.as_ref() else { return };
        if status.code != 403 {
            return;
        }
        let message = format!(
            "the operator may not read the cluster's keys for service-account tokens at `{path}`: {}; bind the ClusterRole \
             system:service-account-issuer-discovery to its service account",
            status.message
        );
        self.sender.send_if_modified(|known| {
            let denied = TrustState::Denied(message);
            let changed = known.known().is_none() && *known != denied;
            if changed {
                *known = denied;
            }
            changed
        });
    }
}

fn jittered(subject: &str) -> Duration {
    let spread = subject.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    PERIOD + Duration::from_secs(spread % JITTER_SECONDS)
}

async fn fetch(client: &Client, subject: &str) -> Result<TrustBundle, TrustError> {
    let discovery = get(client, "/.well-known/openid-configuration").await?;
    let issuer = discovery.get("issuer").and_then(Value::as_str).ok_or(TrustError::Malformed("there is no issuer"))?;
    let mut jwks = get(client, "/openid/v1/jwks").await?;
    sort_keys(&mut jwks)?;
    TrustBundle::new(&Trust {
        issuer: issuer.to_owned(),
        audience: Trust::AUDIENCE.to_owned(),
        jwks,
        operator: subject.to_owned(),
    })
}

/// Replicas of the API server may list the keys in another order each.
fn sort_keys(jwks: &mut Value) -> Result<(), TrustError> {
    let keys = jwks.get_mut("keys").and_then(Value::as_array_mut).ok_or(TrustError::Malformed("there are no keys"))?;
    keys.sort_by_key(|key| key.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned());
    Ok(())
}

async fn get(client: &Client, path: &'static str) -> Result<Value, TrustError> {
    let request = http::Request::get(path).body(Vec::new()).map_err(|source| TrustError::Request { path, source })?;
    let text = tokio::time::timeout(FETCH_TIMEOUT, client.request_text(request))
        .await
        .map_err(|_elapsed| TrustError::Timeout { path })?
        .map_err(|source| TrustError::Fetch { path, source: Box::new(source) })?;
    if text.len() > BYTES_MAX {
        return Err(TrustError::Malformed("the answer is too large"));
    }
    serde_json::from_str(&text).map_err(|_invalid| TrustError::Malformed("the answer is not JSON"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_change_the_revision() {
        let bundle = |keys: Value| {
            let mut jwks = json!({"keys": keys});
            sort_keys(&mut jwks).unwrap();
            let trust = Trust { issuer: "i".into(), audience: Trust::AUDIENCE.into(), jwks, operator: "o".into() };
            TrustBundle::new(&trust).unwrap()
        };
        let one = bundle(json!([{"kid": "a"}, {"kid": "b"}]));
        assert_eq!(one, bundle(json!([{"kid": "b"}, {"kid": "a"}])));
        assert_ne!(one.revision, bundle(json!([{"kid": "b"}])).revision);
    }
}
