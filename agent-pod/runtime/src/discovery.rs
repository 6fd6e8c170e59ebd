//! Which models the providers' servers offer, and whether they answer: asked now and then, at no cost in tokens, so that
//! a Provider's status is known before anybody calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_core::model::{Model, ModelError, ModelErrorKind};
use futures::StreamExt as _;
use futures::stream;
use tokio::time::{Instant, sleep};

use crate::registry::Registry;

/// How often it is looked who is to be asked.
const TICK: Duration = Duration::from_secs(1);
/// How often a server is asked that answered the last time.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How often one is asked that did not, or that calls have failed at since.
const ASK_SOON: Duration = Duration::from_secs(5);
/// Servers that are asked at the same time.
const AT_ONCE: usize = 4;

/// What is known of a provider's server.
#[derive(Debug, Default)]
pub struct EndpointHealth(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    report: EndpointReport,
    /// When it was asked, and with which version of the credential.
    asked: Option<(Instant, u64)>,
}

/// What [`EndpointHealth`] knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointReport {
    /// Whether it answered, with whatever status; unknown before it was asked.
    pub reachable: Option<bool>,
    /// Why it gave no list.
    pub error: Option<ModelError>,
    /// The models that it offers.
    pub models: Option<Vec<String>>,
}

/// A server to be asked.
#[derive(Clone)]
pub struct Endpoint {
    /// Name of the Provider.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The adapter that asks.
    pub adapter: Arc<dyn Model>,
    /// What is known.
    pub health: Arc<EndpointHealth>,
}

impl EndpointHealth {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    #[must_use]
    pub fn report(&self) -> EndpointReport {
        self.lock().report.clone()
    }

    fn is_due(&self, credential_version: u64, failing: bool) -> bool {
        let known = self.lock();
        let Some((at, version)) = known.asked else { return true };
        let troubled = failing || known.report.error.is_some();
        version != credential_version || at.elapsed() >= if troubled { ASK_SOON } else { ASK_AGAIN }
    }

    fn learn(&self, credential_version: u64, answer: Result<Vec<String>, ModelError>) {
        let mut known = self.lock();
        known.asked = Some((Instant::now(), credential_version));
        known.report = match answer {
            Ok(models) => EndpointReport { reachable: Some(true), error: None, models: Some(models) },
            Err(error) => EndpointReport { reachable: Some(answered(&error)), error: Some(error), models: None },
        };
    }
}

/// Whether an error is a server's answer, and not silence.
fn answered(error: &ModelError) -> bool {
    error.status.is_some()
        || match error.kind {
            ModelErrorKind::Rejected
            | ModelErrorKind::Unauthorized
            | ModelErrorKind::NotFound
            | ModelErrorKind::RateLimited
            | ModelErrorKind::Malformed => true,
            ModelErrorKind::Unavailable | ModelErrorKind::Timeout => false,
        }
}

/// Asks the servers of whatever serves, for ever.
pub async fn follow(registry: &Registry) {
    loop {
        forget_refusals(registry);
        stream::iter(due(registry)).for_each_concurrent(AT_ONCE, ask).await;
        sleep(TICK).await;
    }
}

/// A refused credential that has been replaced is no fault any more, even before anybody calls.
fn forget_refusals(registry: &Registry) {
    let Some(snapshot) = registry.snapshot() else { return };
    for endpoint in &snapshot.endpoints {
        let version = endpoint.adapter.credential_version();
        let of_it = snapshot
            .models
            .iter()
            .filter(|model| model.provider == endpoint.name && model.namespace == endpoint.namespace);
        of_it.for_each(|model| model.state.forget_refusal(version));
    }
}

fn due(registry: &Registry) -> Vec<Endpoint> {
    let Some(snapshot) = registry.snapshot() else { return Vec::new() };
    let failing = |endpoint: &Endpoint| {
        let of_it = snapshot
            .models
            .iter()
            .filter(|model| model.provider == endpoint.name && model.namespace == endpoint.namespace);
        of_it.filter_map(|model| model.state.report().last_error).any(|kind| {
            matches!(kind, ModelErrorKind::Unavailable | ModelErrorKind::Timeout | ModelErrorKind::Unauthorized)
        })
    };
    let is_due =
        |endpoint: &&Endpoint| endpoint.health.is_due(endpoint.adapter.credential_version(), failing(endpoint));
    snapshot.endpoints.iter().filter(is_due).cloned().collect()
}

async fn ask(endpoint: Endpoint) {
    let version = endpoint.adapter.credential_version();
    // The adapter bounds the wait.
    let answer = endpoint.adapter.models().await;
    if let Err(error) = &answer {
        tracing::debug!(provider = %endpoint.name, cause = %error, "server gave no list of its models");
    }
    endpoint.health.learn(version, answer);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn failed(kind: ModelErrorKind, status: Option<u16>) -> ModelError {
        ModelError { status, ..ModelError::new(kind, "why") }
    }

    #[rstest]
    #[case::refused(failed(ModelErrorKind::Unavailable, None), false)]
    #[case::silent(failed(ModelErrorKind::Timeout, None), false)]
    #[case::overloaded(failed(ModelErrorKind::Unavailable, Some(503)), true)]
    #[case::locked(failed(ModelErrorKind::Unauthorized, Some(401)), true)]
    #[case::without_a_list(failed(ModelErrorKind::NotFound, Some(404)), true)]
    fn whatever_answers_is_reachable(#[case] error: ModelError, #[case] reachable: bool) {
        let health = EndpointHealth::default();
        health.learn(0, Err(error));
        assert_eq!(health.report().reachable, Some(reachable));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_asked_again_sooner_when_something_is_wrong() {
        let health = EndpointHealth::default();
        assert!(health.is_due(1, false), "before it was asked");
        health.learn(1, Ok(vec![]));
        assert!(!health.is_due(1, false) && health.is_due(2, false), "another credential is another try");
        tokio::time::advance(ASK_SOON).await;
        assert!(!health.is_due(1, false) && health.is_due(1, true));
        tokio::time::advance(ASK_AGAIN).await;
        assert!(health.is_due(1, false));
    }
}
