//! Events on flips of conditions, and on nothing else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use astromesh_crds::v1alpha1::{Reason, condition};
use dashmap::DashMap;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::applier::is_ending;
use crate::conditions::find;
use crate::names::MANAGER;

/// The conditions whose flips are told.
const TOLD: [&str; 10] = [
    condition::ACCEPTED,
    condition::RESOLVED_REFS,
    condition::PROGRAMMED,
    condition::LOADED,
    condition::CREDENTIALS_RESOLVED,
    condition::ENDPOINT_REACHABLE,
    condition::MODELS_AVAILABLE,
    condition::CIRCUIT_CLOSED,
    condition::DEGRADED,
    condition::READY,
];
/// What was told last of each of them, if anything.
type Told = [Option<bool>; TOLD.len()];
const NOTE_CHARS_MAX: usize = 1_000;
const EVENTS_REMEMBERED: u32 = 1_000;
/// Events are a courtesy: they must not hold a reconciliation up.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// A recorder, and how many Events it has published.
struct Remembering {
    recorder: Recorder,
    events: u32,
}

/// Publishes Events.
pub struct Announcer {
    client: Client,
    reporter: Reporter,
    recorder: Mutex<Remembering>,
    told: DashMap<String, Told>,
}

impl Announcer {
    /// An announcer that signs with the name of its pod.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: MANAGER.into(), instance: Some(instance.to_owned()) };
        let recorder = Mutex::new(Remembering { recorder: Recorder::new(client.clone(), reporter.clone()), events: 0 });
        Self { client, reporter, recorder, told: DashMap::new() }
    }

    /// What makes one Event of equal ones. It remembers each for six minutes, and looks at all of them for each: after a thousand
    /// another one takes its place.
    fn recorder(&self) -> Recorder {
        let mut now = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if now.events >= EVENTS_REMEMBERED {
            let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            *now = Remembering { recorder, events: 0 };
        }
        now.events += 1;
        now.recorder.clone()
    }

    /// Tells what has flipped between `before` and `after`.
    pub async fn announce(&self, object: &ObjectReference, before: &[Condition], after: &[Condition]) {
        let Some(uid) = object.uid.clone() else { return };
        let flips = {
            let mut told = self.told.entry(uid).or_insert_with(|| seed(before));
            flips(&mut told, after)
        };
        for event in flips {
            let published = tokio::time::timeout(PUBLISH_TIMEOUT, self.recorder().publish(&event, object)).await;
            match published {
                Ok(Ok(())) => {}
                Ok(Err(kube::Error::Api(status))) if is_ending(&status) => return,
                Ok(Err(error)) => {
                    tracing::warn!(reason = event.reason, error = %crate::telemetry::chain(&error), "event not published");
                }
                Err(_elapsed) => tracing::warn!(reason = event.reason, "event not published in time"),
            }
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.told.remove(uid);
    }
}

/// What was told before, read from the status that an earlier process left behind.
fn seed(before: &[Condition]) -> Told {
    TOLD.map(|type_| {
        find(before, type_).filter(|condition| !passing(condition)).map(|condition| condition.status == "True")
    })
}

/// A state on the way to another one is not worth telling.
fn passing(condition: &Condition) -> bool {
    let passing = [Reason::Loading, Reason::Rollout, Reason::NewGeneration].map(Reason::as_str);
    condition.status == "Unknown" || (condition.status == "False" && passing.contains(&condition.reason.as_str()))
}

fn flips(told: &mut Told, after: &[Condition]) -> Vec<Event> {
    let mut events = Vec::new();
    for (type_, told) in TOLD.into_iter().zip(told) {
        // A new object is taken to be well, but not to serve yet; abnormal states are absent when false.
        let normal = type_ != condition::DEGRADED;
        let baseline = normal && ![condition::LOADED, condition::READY].contains(&type_);
        let known = told.unwrap_or(baseline);
        let found = find(after, type_);
        let now = match found {
            Some(condition) if passing(condition) => continue,
            Some(condition) => condition.status == "True",
            None if normal => continue,
            None => false,
        };
        *told = Some(now);
        if now == known {
            continue;
        }
        let well = now == normal;
        // `Ready` says again what took it, perhaps as one of several causes: one Event tells it once.
        let told_already = |condition: &Condition| {
            let tells = |cause: &str| !cause.is_empty() && condition.message.contains(cause);
            let says = |note: &String| note.split("; ").any(tells);
            events.iter().any(|event: &Event| event.reason == condition.reason || event.note.iter().any(says))
        };
        if type_ == condition::READY && !well && found.is_some_and(told_already) {
            continue;
        }
        let (reason, note) = match found {
            Some(condition) if !well => (condition.reason.clone(), condition.message.clone()),
            Some(condition) => (type_.to_owned(), condition.message.clone()),
            None => ("Recovered".to_owned(), "nothing optional is broken any more".to_owned()),
        };
        events.push(Event {
            type_: if well { EventType::Normal } else { EventType::Warning },
            reason,
            note: Some(note.chars().take(NOTE_CHARS_MAX).collect()),
            action: type_.to_owned(),
            secondary: None,
        });
    }
    events
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::conditions::{Conditions, Verdict};

    fn ready(verdict: &Verdict) -> Vec<Condition> {
        Conditions::new(&[], Some(1), Timestamp::UNIX_EPOCH).with("Ready", verdict).finish()
    }

    fn reasons(told: &mut Told, verdict: &Verdict) -> Vec<String> {
        flips(told, &ready(verdict)).into_iter().map(|event| event.reason).collect()
    }

    #[test]
    fn a_flip_is_told_once() {
        let mut told = Told::default();
        let down = Verdict::fails(Reason::PodsUnavailable, "no pod is ready");
        assert!(reasons(&mut told, &down).is_empty(), "a new object is not ready, and nobody is surprised");
        assert_eq!(reasons(&mut told, &Verdict::holds("")), ["Ready"]);
        for _pass in 0..10 {
            assert!(reasons(&mut told, &Verdict::holds("")).is_empty());
        }
        assert_eq!(reasons(&mut told, &down), ["PodsUnavailable"]);
        assert!(reasons(&mut told, &Verdict::fails(Reason::LoadFailed, "x")).is_empty(), "still not ready");
    }

    #[test]
    fn a_reload_is_not_told() {
        let mut told = seed(&ready(&Verdict::holds("")));
        assert!(reasons(&mut told, &Verdict::fails(Reason::Loading, "")).is_empty());
        assert!(reasons(&mut told, &Verdict::holds("")).is_empty());
    }

    #[test]
    fn what_takes_readiness_is_told_once() {
        let invalid = Verdict::fails(Reason::Invalid, "spec.x is wrong");
        let refused = Conditions::new(&[], Some(1), Timestamp::UNIX_EPOCH)
            .with("Accepted", &invalid)
            .with("Ready", &invalid)
            .finish();
        let mut told = seed(&ready(&Verdict::holds("")));
        let events = flips(&mut told, &refused);
        assert_eq!(events.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(), ["Accepted"]);
        assert!(flips(&mut told, &refused).is_empty());
        assert_eq!(reasons(&mut told, &Verdict::holds("")), ["Ready"], "that it has come back is told");
    }

    #[test]
    fn what_takes_readiness_and_degrades_is_told_once() {
        let degraded =
            "model `a/x`: its server does not answer (timeout); model `b/y`: its server refuses the credential";
        let conditions = Conditions::new(&[], Some(1), Timestamp::UNIX_EPOCH)
            .with("Degraded", &Verdict::present(Reason::ProviderUnavailable, degraded))
            .with(
                "Ready",
                &Verdict::fails(
                    Reason::CredentialsRejected,
                    "no model can be called: model `b/y`: its server refuses the credential",
                ),
            )
            .finish();
        let mut told = seed(&ready(&Verdict::holds("")));
        let events = flips(&mut told, &conditions);
        assert_eq!(events.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(), ["Degraded"]);
    }

    #[test]
    fn degraded_is_told_when_it_comes_and_when_it_goes() {
        let mut told = Told::default();
        let missing = Verdict::present(Reason::CredentialsMissing, "Secret `a` has no key `b`");
        let degraded = Conditions::new(&[], None, Timestamp::UNIX_EPOCH).with("Degraded", &missing).finish();
        let first = flips(&mut told, &degraded);
        assert_eq!((first[0].type_, first[0].reason.as_str()), (EventType::Warning, "CredentialsMissing"));
        assert!(flips(&mut told, &degraded).is_empty());
        let last = flips(&mut told, &[]);
        assert_eq!((last[0].type_, last[0].reason.as_str()), (EventType::Normal, "Recovered"));
    }
}
