//! Which models the providers' servers offer, and whether they answer: asked now and then, at no cost in tokens, so that
//! a Provider's status is known before anybody calls.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
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
/// How soon one is asked that did not, or that calls have failed at since: then twice as late, up to [`ASK_AGAIN`].
const ASK_SOON: Duration = Duration::from_secs(5);
/// How often one is asked that has no list: nothing but its address is wrong, or it never has one.
const ASK_RARELY: Duration = Duration::from_secs(300);
/// How often one is asked that has refused for having been asked too often, unless it has said when.
const ASK_PATIENTLY: Duration = Duration::from_secs(60);
/// The longest wait that a server is granted.
const ASK_AT_LAST: Duration = Duration::from_secs(3600);
/// Servers that are asked at the same time.
const AT_ONCE: usize = 4;

/// What is known of a provider's server.
#[derive(Debug, Default)]
pub struct EndpointHealth(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    report: EndpointReport,
    asked: Option<Asked>,
}

/// The last time that it was asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    credential_version: u64,
    /// How long it is then left alone.
    wait: Duration,
    /// How often in a row something was wrong.
    troubled: u32,
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
        let Some(asked) = known.asked else { return true };
        // What it has said of waiting holds whatever else fails.
        let soon = failing && known.report.error.is_none() && asked.at.elapsed() >= soon(asked.troubled);
        asked.credential_version != credential_version || soon || asked.at.elapsed() >= asked.wait
    }

    fn learn(&self, credential_version: u64, failing: bool, answer: Result<Vec<String>, ModelError>) {
        let mut known = self.lock();
        let before = known.asked.map_or(0, |asked| asked.troubled);
        let troubled = if failing || answer.is_err() { before.saturating_add(1) } else { 0 };
        let wait = answer.as_ref().map_or_else(|error| wait_after(error, before), |_| ASK_AGAIN);
        known.asked = Some(Asked { at: Instant::now(), credential_version, wait: spread(wait), troubled });
        known.report = match answer {
            Ok(models) => EndpointReport { reachable: Some(true), error: None, models: Some(models) },
            Err(error) => EndpointReport { reachable: Some(answered(&error)), error: Some(error), models: None },
        };
    }
}

/// How soon a server is asked again after so many times in a row that something was wrong.
fn soon(troubled: u32) -> Duration {
    ASK_SOON.saturating_mul(1 << troubled.min(4)).min(ASK_AGAIN)
}

/// How long a server is left alone after an error.
fn wait_after(error: &ModelError, troubled: u32) -> Duration {
    let own = match error.kind {
        ModelErrorKind::RateLimited => ASK_PATIENTLY,
        ModelErrorKind::NotFound => ASK_RARELY,
        // Another credential is asked with at once.
        ModelErrorKind::Unauthorized | ModelErrorKind::Rejected | ModelErrorKind::NoMemory => ASK_AGAIN,
        ModelErrorKind::Unavailable | ModelErrorKind::Timeout | ModelErrorKind::Malformed => soon(troubled),
    };
    error.retry_after.map_or(own, |asked| asked.max(ASK_SOON)).min(ASK_AT_LAST)
}

/// Up to a fifth longer, so that many pods do not ask at once, and never sooner than a server wants.
fn spread(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 200;
    wait.saturating_mul(u32::try_from(1_000 + random).unwrap_or(1_000)) / 1_000
}

/// Whether an error is a server's answer, and not silence.
fn answered(error: &ModelError) -> bool {
    error.status.is_some()
        || match error.kind {
            ModelErrorKind::Rejected
            | ModelErrorKind::Unauthorized
            | ModelErrorKind::NotFound
            | ModelErrorKind::RateLimited
            | ModelErrorKind::Malformed
            | ModelErrorKind::NoMemory => true,
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

/// Those that are to be asked, and whether calls fail at them.
fn due(registry: &Registry) -> Vec<(Endpoint, bool)> {
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
    let endpoints = snapshot.endpoints.iter().map(|endpoint| (endpoint.clone(), failing(endpoint)));
    endpoints
        .filter(|(endpoint, failing)| endpoint.health.is_due(endpoint.adapter.credential_version(), *failing))
        .collect()
}

async fn ask((endpoint, failing): (Endpoint, bool)) {
    let version = endpoint.adapter.credential_version();
    // The adapter bounds the wait.
    let answer = endpoint.adapter.models().await;
    if let Err(error) = &answer {
        tracing::debug!(provider = %endpoint.name, cause = %error, "server gave no list of its models");
    }
    endpoint.health.learn(version, failing, answer);
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
        health.learn(0, false, Err(error));
        assert_eq!(health.report().reachable, Some(reachable));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_asked_again_sooner_when_something_is_wrong() {
        let health = EndpointHealth::default();
        assert!(health.is_due(1, false), "before it was asked");
        health.learn(1, false, Ok(vec![]));
        assert!(!health.is_due(1, false) && health.is_due(2, false), "another credential is another try");
        tokio::time::advance(ASK_SOON).await;
        assert!(!health.is_due(1, false) && health.is_due(1, true));
        tokio::time::advance(ASK_AGAIN).await;
        assert!(health.is_due(1, false));
    }

    /// Whole seconds until it is asked again, at least and at most.
    async fn asked_within(health: &EndpointHealth, failing: bool) -> u64 {
        let begun = Instant::now();
        while !health.is_due(1, failing) {
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        begun.elapsed().as_secs()
    }

    #[rstest]
    #[case::told_to_wait(failed(ModelErrorKind::RateLimited, Some(429)), Some(70), 70..=84)]
    #[case::told_nothing(failed(ModelErrorKind::RateLimited, Some(429)), None, 60..=72)]
    #[case::without_a_list(failed(ModelErrorKind::NotFound, Some(404)), None, 300..=360)]
    #[case::overloaded(failed(ModelErrorKind::Unavailable, Some(503)), Some(30), 30..=36)]
    #[case::told_to_wait_for_ever(failed(ModelErrorKind::RateLimited, Some(429)), Some(86_400), 3_600..=4_320)]
    #[case::told_not_to_wait(failed(ModelErrorKind::RateLimited, Some(429)), Some(0), 5..=6)]
    #[tokio::test(start_paused = true)]
    async fn a_server_is_left_alone_as_long_as_it_says_even_while_calls_fail(
        #[case] error: ModelError,
        #[case] retry_after: Option<u64>,
        #[case] seconds: std::ops::RangeInclusive<u64>,
    ) {
        let health = EndpointHealth::default();
        health.learn(1, true, Err(ModelError { retry_after: retry_after.map(Duration::from_secs), ..error }));
        let waited = asked_within(&health, true).await;
        assert!(seconds.contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stays_silent_is_asked_less_and_less_often() {
        let health = EndpointHealth::default();
        let mut waits = Vec::new();
        for _time in 0..4 {
            health.learn(1, true, Err(failed(ModelErrorKind::Unavailable, None)));
            waits.push(asked_within(&health, true).await);
        }
        assert!((5..=6).contains(&waits[0]) && (10..=12).contains(&waits[1]), "{waits:?}");
        assert!(waits[2..].iter().all(|wait| (15..=18).contains(wait)), "{waits:?}");
    }
}
