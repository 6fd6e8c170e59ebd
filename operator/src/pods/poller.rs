//! Asks pods what they serve, apart from reconciling: a bounded number at the same time, each at its own pace. What a pod says
//! wakes its agent only when it is news.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use astromesh_crds::v1alpha1::Agent;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::pace::{Pace, spread};
use super::{Health, Heard, Nudges, PodView, Pods, StateClient, next_value, nudge};
use crate::metrics::Metrics;
use crate::names::ObjectKey;
use crate::watching::{Queues, Trigger};

/// How many pods are asked at the same time.
const AT_ONCE: usize = 64;
/// A pod that asks for attention all the time is not asked more often than this.
const GAP: Duration = Duration::from_millis(200);
/// The longest pause while nothing is wrong: of pods that tell by themselves when something is, and of others.
const SELDOM: Duration = Duration::from_secs(300);
const SELDOM_UNTOLD: Duration = Duration::from_secs(30);
/// Nudges a second, of all pods together, that only look for a Secret's new value. An edit's nudges are not counted.
const REPAIRS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// What the poller needs.
pub struct Poller {
    /// The API server, for nudges.
    pub client: Client,
    /// Asks pods.
    pub state_client: StateClient,
    /// What is known of them.
    pub pods: Arc<Pods>,
    /// Whom to ask at once.
    pub looks: Trigger<ObjectKey>,
    /// Pods that ask for attention.
    pub attention: mpsc::Receiver<ObjectKey>,
    /// Whether pods know where to ask for it.
    pub told: bool,
    /// Wakes agents.
    pub queues: Queues,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A pod on the poller's list.
struct Entry {
    uid: String,
    timer: Option<Key>,
    asked: Instant,
    pace: Pace,
    nudges: Nudges,
}

impl Poller {
    /// Asks for ever.
    pub async fn run(mut self) {
        let repairs = Mutex::new(Repairs::new(Instant::now()));
        let seldom = if self.told { SELDOM } else { SELDOM_UNTOLD };
        let mut entries = HashMap::<ObjectKey, Entry>::new();
        let mut timers = DelayQueue::<ObjectKey>::new();
        let mut asking = FuturesUnordered::new();
        let mut told = true;
        loop {
            tokio::select! {
                pod = self.looks.next() => schedule(&self.pods, &mut entries, &mut timers, pod, seldom),
                pod = self.attention.recv(), if told => match pod {
                    Some(pod) => schedule(&self.pods, &mut entries, &mut timers, pod, seldom),
                    None => told = false,
                },
                Some(due) = timers.next(), if asking.len() < AT_ONCE => {
                    let pod = due.into_inner();
                    let Some(report) = self.pods.get(&pod) else {
                        entries.remove(&pod);
                        continue;
                    };
                    let Some(entry) = entries.get_mut(&pod) else { continue };
                    entry.timer = None;
                    entry.asked = Instant::now();
                    let nudges = entry.nudges.clone();
                    let ask = ask(&self.client, &self.state_client, &self.pods, &self.metrics, &repairs, report.pod, nudges);
                    asking.push(ask.map(move |answer| (pod, answer)).boxed());
                },
                Some((pod, answer)) = asking.next() => {
                    let Some((heard, nudges)) = answer else {
                        // It has gone, or has come up anew: then the watch has asked for another look.
                        if self.pods.get(&pod).is_none() { forget(&mut entries, &mut timers, &pod); }
                        continue;
                    };
                    let Some(entry) = entries.get_mut(&pod) else { continue };
                    entry.nudges = nudges;
                    let now = Instant::now();
                    let pause = entry.pace.next(&heard.report, heard.target.as_ref(), heard.since, heard.news, now);
                    if heard.report.pod.address.is_some() && entry.timer.is_none() {
                        let behind = heard.target.as_ref().is_some_and(|target| heard.report.is_behind(target));
                        let pause = if behind { pause } else { spread(pause, &entry.uid) };
                        entry.timer = Some(timers.insert(pod, pause));
                    }
                    if heard.news {
                        let agent: ObjectRef<Agent> = ObjectRef::new(&heard.agent.name).within(&heard.agent.namespace);
                        self.queues.wake_agent(agent);
                    }
                }
            }
        }
    }
}

/// Has a pod asked at once, or as soon as it may be asked again.
fn schedule(
    pods: &Pods,
    entries: &mut HashMap<ObjectKey, Entry>,
    timers: &mut DelayQueue<ObjectKey>,
    pod: ObjectKey,
    seldom: Duration,
) {
    let now = Instant::now();
    let Some(report) = pods.get(&pod).filter(|report| report.pod.address.is_some()) else {
        forget(entries, timers, &pod);
        return;
    };
    let fresh = || Entry {
        uid: report.pod.uid.clone(),
        timer: None,
        asked: now.checked_sub(GAP).unwrap_or(now),
        pace: Pace::new(seldom),
        nudges: Nudges::new(now),
    };
    let entry = entries.entry(pod.clone()).or_insert_with(fresh);
    if entry.uid != report.pod.uid {
        *entry = Entry { timer: entry.timer.take(), ..fresh() };
    }
    let at = (entry.asked + GAP).max(now);
    match &entry.timer {
        Some(timer) => timers.reset_at(timer, at),
        None => entry.timer = Some(timers.insert_at(pod, at)),
    }
}

fn forget(entries: &mut HashMap<ObjectKey, Entry>, timers: &mut DelayQueue<ObjectKey>, pod: &ObjectKey) {
    if let Some(timer) = entries.remove(pod).and_then(|entry| entry.timer) {
        timers.remove(&timer);
    }
}

/// Asks one pod, and nudges it where a refreshed volume would help.
async fn ask(
    client: &Client,
    state_client: &StateClient,
    pods: &Pods,
    metrics: &Metrics,
    repairs: &Mutex<Repairs>,
    pod: PodView,
    mut nudges: Nudges,
) -> Option<(Heard, Nudges)> {
    let polled = state_client.state(&pod).await;
    metrics.state_poll(polled.is_ok());
    let state = polled
        .inspect_err(|error| {
            tracing::debug!(pod = %pod.key.name, error = %crate::telemetry::chain(error), "pod state not read");
        })
        .ok();
    let heard = pods.heard(&pod, state)?;
    let now = Instant::now();
    let behind = heard.target.as_ref().filter(|target| heard.report.is_behind(target));
    let revision = heard.target.as_ref().map_or("", |target| target.revision.as_str());
    let due = match (behind, heard.report.state.as_deref().map(Health::of)) {
        (Some(target), _) => nudges.due(&format!("{}/{}", target.revision, target.trust), now),
        (None, Some(Health::Credentials)) => repairs.lock().unwrap_or_else(PoisonError::into_inner).take(now),
        (None, Some(Health::Trouble | Health::Well) | None) => {
            nudges.settle();
            false
        }
    };
    if due && !revision.is_empty() {
        let value = next_value(heard.report.pod.nudged.as_deref(), revision);
        let nudged = nudge(client.clone(), &heard.report.pod, &value).await;
        metrics.nudge(nudged.is_ok());
        match nudged {
            Ok(()) => tracing::debug!(pod = %pod.key.name, value, "pod nudged"),
            Err(error) => {
                let error = error.map_or_else(|| "no answer in time".into(), |error| crate::telemetry::chain(&*error));
                tracing::warn!(pod = %pod.key.name, error, "pod not nudged; the kubelet refreshes it later");
            }
        }
    }
    Some((heard, nudges))
}

/// How many more repairs may be tried in this second.
struct Repairs {
    since: Instant,
    left: u32,
}

impl Repairs {
    fn new(now: Instant) -> Self {
        Self { since: now, left: REPAIRS_PER_SECOND.get() }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}
