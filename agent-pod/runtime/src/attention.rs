//! "Ask me for my state": what a pod tells the operator by itself, when there is something that it would act on.
//!
//! ```text
//!  state's tag changes ─► operator.json names an address? ─► POST {namespace, pod} ─► the operator asks for the state
//! ```
//!
//! One round at a time: what changes meanwhile is told by the next one, which needs to say no more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::{Attention, OPERATOR_FILE, OperatorAddress};
use agent_pod_infra::attention::Teller;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::Runtime;

/// Between two rounds.
const PACE: Duration = Duration::from_millis(200);

/// After a round that nobody has listened to; doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Who tells, and where it is written whom.
#[derive(Clone, Debug)]
pub struct Herald {
    /// The folder of the operator's files.
    pub folder: PathBuf,
    /// The pod's name.
    pub pod: String,
    /// The pod's token, which names its namespace.
    pub token_file: PathBuf,
}

impl Herald {
    /// Tells the operator of every change, for ever.
    pub async fn follow(self, runtime: Arc<Runtime>) {
        let teller = match Teller::new() {
            Ok(teller) => teller,
            Err(error) => {
                tracing::warn!(cause = %error, "the operator cannot be told of changes; it asks by itself");
                return std::future::pending().await;
            }
        };
        let mut tags = runtime.tag.subscribe();
        let (mut told, mut failures) = (String::new(), 0);
        loop {
            let tag = tags.borrow_and_update().clone();
            if tag == told || runtime.registry.draining() {
                // It lives as long as the runtime.
                drop(tags.changed().await);
                continue;
            }
            match self.tell(&teller, &runtime).await {
                Ok(()) => {
                    (told, failures) = (tag, 0);
                    sleep(PACE).await;
                }
                Err(cause) => {
                    if failures == 0 {
                        tracing::warn!(%cause, "the operator does not listen; it asks by itself");
                    }
                    sleep(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// Tells that there is something new. Nobody to tell is no failure.
    async fn tell(&self, teller: &Teller, runtime: &Runtime) -> Result<(), String> {
        let herald = self.clone();
        let served = runtime
            .registry
            .snapshot()
            .and_then(|snapshot| snapshot.entries.values().next().map(|entry| entry.agent.namespace.clone()));
        let read = spawn_blocking(move || herald.read(served)).await.map_err(|error| error.to_string())?;
        let Some((address, attention)) = read? else { return Ok(()) };
        let body = serde_json::to_vec(&attention).map_err(|error| error.to_string())?;
        teller.tell(&address.attention, body.into()).await.map_err(|error| error.to_string())
    }

    /// Whom to tell, and what.
    fn read(self, served: Option<String>) -> Result<Option<(OperatorAddress, Attention)>, String> {
        let Ok(bytes) = std::fs::read(self.folder.join(OPERATOR_FILE)) else { return Ok(None) };
        let address = serde_json::from_slice(&bytes).map_err(|error| format!("{OPERATOR_FILE}: {error}"))?;
        let namespace = served.or_else(|| namespace_of(&std::fs::read_to_string(&self.token_file).ok()?));
        Ok(namespace.map(|namespace| (address, Attention { namespace, pod: self.pod })))
    }
}

fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(2_u32.saturating_pow(failures.min(8))).min(PAUSE_MAX)
}

/// The namespace of a service account's token. It is the pod's own, so nobody has to be believed.
fn namespace_of(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let (namespace, _name) = claims.get("sub")?.as_str()?.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(namespace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_namespace() {
        let token = |sub: &str| format!("x.{}.y\n", URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"{sub}\"}}")));
        assert_eq!(namespace_of(&token("system:serviceaccount:shop:support-agent")).as_deref(), Some("shop"));
        assert_eq!(namespace_of(&token("somebody")), None);
        assert_eq!(namespace_of("x.y"), None);
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let pauses = [0, 1, 4, 5, 1_000].map(|failures| pause(failures).as_secs());
        assert_eq!(pauses, [1, 2, 16, 30, 30]);
    }
}
