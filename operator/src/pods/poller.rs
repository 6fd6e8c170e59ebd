//! Asks pods what they serve, apart from reconciling: a bounded number at the same time, each at its own pace. What a pod says
//! wakes its agent only when it is news.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use astromesh_crds::v1alpha1::Agent;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Semaphore, mpsc};
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
/// How many are nudged at the same time: fewer than documents are written, or the last of thousands would wait for the pods of the first.
const NUDGES_AT_ONCE: usize = 8;
/// A pod that asks for attention all the time is not asked more often than this.
const GAP: Duration = Duration::from_millis(200);
/// Nudges a second, of all pods together, that only look for a Secret's new value. An edit's nudges are not counted.
const REPAIRS_PER_SECOND: u32 = 10;

/// What the poller needs.
pub struct Poller {
    /// Asks and nudges.
    pub asker: Asker,
    /// Whom to ask at once.
    pub looks: Trigger<ObjectKey>,
    /// Pods that ask for attention.
    pub attention: mpsc::Receiver<ObjectKey>,
    /// Whether pods know where to ask for it.
    pub told: bool,
    /// Wakes agents.
    pub queues: Queues,
}

/// Asks single pods, and nudges them.
pub struct Asker {
    client: Client,
    state_client: StateClient,
    pods: Arc<Pods>,
    metrics: Arc<Metrics>,
    repairs: Mutex<Repairs>,
    nudges: Semaphore,
}

/// A pod on the poller's list.
struct Entry {
    uid: String,
    timer: Option<Key>,
    asked: Instant,
    pace: Pace,
    nudges: Nudges,
}

/// The pods on the list, and when they are due.
struct Schedule {
    entries: HashMap<ObjectKey, Entry>,
    timers: DelayQueue<ObjectKey>,
    /// Whether pods tell by themselves when there is something to know.
    told: bool,
}

impl Poller {
    /// Asks for ever.
    pub async fn run(mut self) {
        let mut schedule = Schedule { entries: HashMap::new(), timers: DelayQueue::new(), told: self.told };
        let mut asking = FuturesUnordered::new();
        let mut told = true;
        loop {
            tokio::select! {
                pod = self.looks.next() => schedule.at_once(&self.asker.pods, pod),
                pod = self.attention.recv(), if told => match pod {
                    Some(pod) => schedule.at_once(&self.asker.pods, pod),
                    None => told = false,
                },
                Some(due) = schedule.timers.next(), if asking.len() < AT_ONCE => {
                    let pod = due.into_inner();
                    if let Some((view, nudges)) = schedule.begin(&self.asker.pods, &pod) {
                        asking.push(self.asker.ask(view, nudges).map(move |answer| (pod, answer)).boxed());
                    }
                },
                Some((pod, answer)) = asking.next() => {
                    // `None`: it has gone, or has come up anew; then the watch has asked for another look.
                    let Some((heard, nudges)) = answer else {
                        if self.asker.pods.get(&pod).is_none() {
                            schedule.forget(&pod);
                        }
                        continue;
                    };
                    schedule.end(pod, &heard, nudges);
                    if heard.news {
                        let agent: ObjectRef<Agent> = ObjectRef::new(&heard.agent.name).within(&heard.agent.namespace);
                        self.queues.agent_seen(agent);
                    }
                }
            }
        }
    }
}

impl Schedule {
    /// Has a pod asked at once, or as soon as it may be asked again.
    fn at_once(&mut self, pods: &Pods, pod: ObjectKey) {
        let now = Instant::now();
        let Some(report) = pods.get(&pod).filter(|report| report.pod.address.is_some()) else {
            self.forget(&pod);
            return;
        };
        let told = self.told;
        let fresh = || Entry {
            uid: report.pod.uid.clone(),
            timer: None,
            asked: now.checked_sub(GAP).unwrap_or(now),
            pace: Pace::new(told),
            nudges: Nudges::new(now),
        };
        let entry = self.entries.entry(pod.clone()).or_insert_with(fresh);
        if entry.uid != report.pod.uid {
            *entry = Entry { timer: entry.timer.take(), ..fresh() };
        }
        let at = (entry.asked + GAP).max(now);
        match &entry.timer {
            Some(timer) => self.timers.reset_at(timer, at),
            None => entry.timer = Some(self.timers.insert_at(pod, at)),
        }
    }

    /// A pod is due: it is asked now, unless it has gone.
    fn begin(&mut self, pods: &Pods, pod: &ObjectKey) -> Option<(PodView, Nudges)> {
        let Some(report) = pods.get(pod) else {
            self.entries.remove(pod);
            return None;
        };
        let entry = self.entries.get_mut(pod)?;
        entry.timer = None;
        entry.asked = Instant::now();
        Some((report.pod, entry.nudges.clone()))
    }

    /// A pod has been asked: it is asked again when its pace says so, unless somebody has asked for it sooner.
    fn end(&mut self, pod: ObjectKey, heard: &Heard, nudges: Nudges) {
        let Some(entry) = self.entries.get_mut(&pod) else { return };
        entry.nudges = nudges;
        let pause = entry.pace.next(heard, Instant::now());
        if heard.report.pod.address.is_some() && entry.timer.is_none() {
            let pause = if heard.is_behind() { pause } else { spread(pause, &entry.uid) };
            entry.timer = Some(self.timers.insert(pod, pause));
        }
    }

    fn forget(&mut self, pod: &ObjectKey) {
        if let Some(timer) = self.entries.remove(pod).and_then(|entry| entry.timer) {
            self.timers.remove(&timer);
        }
    }
}

impl Asker {
    /// Asks these pods.
    #[must_use]
    pub fn new(client: Client, state_client: StateClient, pods: Arc<Pods>, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            state_client,
            pods,
            metrics,
            repairs: Mutex::new(Repairs::new(Instant::now())),
            nudges: Semaphore::new(NUDGES_AT_ONCE),
        }
    }

    /// Asks one pod, and nudges it where a refreshed volume would help.
    async fn ask(&self, pod: PodView, mut nudges: Nudges) -> Option<(Heard, Nudges)> {
        let polled = self.state_client.state(&pod).await;
        self.metrics.state_poll(polled.is_ok());
        let state = polled
            .inspect_err(|error| {
                tracing::debug!(pod = %pod.key.name, error = %crate::telemetry::chain(error), "pod state not read");
            })
            .ok();
        let heard = self.pods.heard(&pod, state)?;
        let now = Instant::now();
        let behind = heard.target.as_ref().filter(|_| heard.is_behind());
        let due = match (behind, heard.report.state.as_deref().map(Health::of)) {
            (Some(target), _) => nudges.due(&format!("{}/{}", target.revision, target.trust), now),
            (None, Some(Health::Credentials)) => self.repairs.lock().unwrap_or_else(PoisonError::into_inner).take(now),
            (None, Some(Health::Trouble | Health::Well) | None) => {
                nudges.settle();
                false
            }
        };
        if let Some(target) = heard.target.as_ref().filter(|_| due) {
            let took = self.nudge(&heard.report.pod, &target.revision).await;
            nudges.wait(Instant::now(), took);
        }
        Some((heard, nudges))
    }

    /// Says how long the API server took.
    async fn nudge(&self, pod: &PodView, revision: &str) -> Duration {
        // It is never closed.
        let _place = self.nudges.acquire().await.ok();
        let started = Instant::now();
        let value = next_value(pod.nudged.as_deref(), revision);
        let nudged = nudge(self.client.clone(), pod, &value).await;
        self.metrics.nudge(nudged.is_ok());
        match nudged {
            Ok(()) => tracing::debug!(pod = %pod.key.name, value, "pod nudged"),
            Err(error) => {
                let error = error.map_or_else(|| "no answer in time".into(), |error| crate::telemetry::chain(&*error));
                tracing::warn!(pod = %pod.key.name, error, "pod not nudged; the kubelet refreshes it later");
            }
        }
        started.elapsed()
    }
}

/// How many more repairs may be tried in this second.
struct Repairs {
    since: Instant,
    left: u32,
}

impl Repairs {
    fn new(now: Instant) -> Self {
        Self { since: now, left: REPAIRS_PER_SECOND }
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
