//! Asks pods what they serve, apart from reconciling: a bounded number at the same time, each at its own pace. What a pod says
//! wakes its agent only when it is news.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::Agent;
use futures::future::BoxFuture;
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
/// How many of those that did not answer the last question, beside the others: each takes as long as a question may.
const SILENT_AT_ONCE: usize = 16;
/// How many are nudged at the same time. While agents wait for their documents fewer: a nudge costs the API server as much as a document,
/// and the last of thousands would wait for the pods of the first.
const NUDGES_AT_ONCE: usize = 8;
const NUDGES_AT_ONCE_WHILE_BUSY: usize = 2;
/// A pod that asks for attention all the time is not asked more often than this.
const GAP: Duration = Duration::from_millis(200);
/// Nudges a second, of all pods together, that only look for a Secret's new value: so many where a server refuses the one in use, and
/// as many where there is none. An edit's nudges are not counted.
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
#[derive(Clone)]
pub struct Asker {
    client: Client,
    state_client: StateClient,
    pods: Arc<Pods>,
    metrics: Arc<Metrics>,
}

/// A pod, and what came of asking it; `None` when it has gone, or has come up anew.
type Asking = FuturesUnordered<BoxFuture<'static, (ObjectKey, Option<Heard>)>>;

/// A pod on the poller's list.
struct Entry {
    uid: String,
    /// Where it waits, and in which line.
    timer: Option<(Line, Key)>,
    line: Line,
    asked: Instant,
    pace: Pace,
    /// How long to wait before the next question.
    pause: Duration,
    nudges: Nudges,
    /// Whether a nudge is on its way, or waits for its turn.
    nudging: bool,
}

/// Pods that do not answer wait in a line of their own: they would take the places of all the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Answering,
    Silent,
}

/// The pods on the list, and when they are due.
struct Schedule {
    entries: HashMap<ObjectKey, Entry>,
    answering: DelayQueue<ObjectKey>,
    silent: DelayQueue<ObjectKey>,
    /// The pods to be nudged, each once.
    to_nudge: VecDeque<ObjectKey>,
    refused: Repairs,
    missing: Repairs,
    /// Whether pods tell by themselves when there is something to know.
    told: bool,
}

impl Poller {
    /// Asks for ever.
    pub async fn run(mut self) {
        let mut schedule = Schedule::new(self.told);
        let (mut asking, mut asking_silent) = (Asking::new(), Asking::new());
        let mut nudging = FuturesUnordered::new();
        let mut told = true;
        loop {
            let most = if self.queues.are_busy() { NUDGES_AT_ONCE_WHILE_BUSY } else { NUDGES_AT_ONCE };
            while nudging.len() < most
                && let Some(pod) = schedule.to_nudge.pop_front()
            {
                nudging.push(self.asker.clone().nudge(pod));
            }
            tokio::select! {
                pod = self.looks.next() => schedule.at_once(&self.asker.pods, pod),
                pod = self.attention.recv(), if told => match pod {
                    Some(pod) => schedule.at_once(&self.asker.pods, pod),
                    None => told = false,
                },
                Some(due) = schedule.answering.next(), if asking.len() < AT_ONCE => {
                    self.ask(&mut schedule, due.into_inner(), &asking);
                }
                Some(due) = schedule.silent.next(), if asking_silent.len() < SILENT_AT_ONCE => {
                    self.ask(&mut schedule, due.into_inner(), &asking_silent);
                }
                Some((pod, heard)) = asking.next() => self.heard(&mut schedule, pod, heard),
                Some((pod, heard)) = asking_silent.next() => self.heard(&mut schedule, pod, heard),
                Some((pod, took)) = nudging.next() => schedule.nudged(pod, took),
            }
        }
    }

    fn ask(&self, schedule: &mut Schedule, pod: ObjectKey, asking: &Asking) {
        if let Some(view) = schedule.begin(&self.asker.pods, &pod) {
            let asker = self.asker.clone();
            asking.push(async move { (pod, asker.ask(view).await) }.boxed());
        }
    }

    fn heard(&self, schedule: &mut Schedule, pod: ObjectKey, heard: Option<Heard>) {
        // One that has come up anew is looked at already: the watch has asked for it.
        let Some(heard) = heard else {
            if self.asker.pods.get(&pod).is_none() {
                schedule.forget(&pod);
            }
            return;
        };
        schedule.end(pod, &heard, Instant::now());
        if heard.news {
            let agent: ObjectRef<Agent> = ObjectRef::new(&heard.agent.name).within(&heard.agent.namespace);
            self.queues.agent_seen(agent);
        }
    }
}

impl Schedule {
    fn new(told: bool) -> Self {
        let now = Instant::now();
        Self {
            entries: HashMap::new(),
            answering: DelayQueue::new(),
            silent: DelayQueue::new(),
            to_nudge: VecDeque::new(),
            refused: Repairs::new(now),
            missing: Repairs::new(now),
            told,
        }
    }

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
            line: Line::Answering,
            asked: now.checked_sub(GAP).unwrap_or(now),
            pace: Pace::new(told),
            pause: GAP,
            nudges: Nudges::new(now),
            nudging: false,
        };
        let entry = self.entries.entry(pod.clone()).or_insert_with(fresh);
        let former = entry.timer.take();
        if entry.uid != report.pod.uid {
            *entry = Entry { nudging: entry.nudging, ..fresh() };
        }
        let (line, at) = (entry.line, (entry.asked + GAP).max(now));
        if let Some((line, timer)) = former {
            self.line(line).remove(&timer);
        }
        let timer = self.line(line).insert_at(pod.clone(), at);
        if let Some(entry) = self.entries.get_mut(&pod) {
            entry.timer = Some((line, timer));
        }
    }

    fn line(&mut self, line: Line) -> &mut DelayQueue<ObjectKey> {
        match line {
            Line::Answering => &mut self.answering,
            Line::Silent => &mut self.silent,
        }
    }

    /// A pod is due: it is asked now, unless it has gone.
    fn begin(&mut self, pods: &Pods, pod: &ObjectKey) -> Option<PodView> {
        let Some(report) = pods.get(pod) else {
            self.entries.remove(pod);
            return None;
        };
        let entry = self.entries.get_mut(pod)?;
        entry.timer = None;
        entry.asked = Instant::now();
        Some(report.pod)
    }

    /// A pod has been asked: it is nudged where a refreshed volume would help, and asked again when its pace says so, unless somebody
    /// has asked for it sooner.
    fn end(&mut self, pod: ObjectKey, heard: &Heard, now: Instant) {
        let Some(entry) = self.entries.get_mut(&pod) else { return };
        let health = heard.report.state.as_deref().map(Health::of);
        let behind = heard.target.as_ref().filter(|_| heard.is_behind());
        let due = match (behind, health) {
            (Some(target), _) => entry.nudges.due(&format!("{}/{}", target.revision, target.trust), now),
            (None, Some(Health::Refused)) => self.refused.take(now),
            (None, Some(Health::Missing)) => self.missing.take(now),
            (None, Some(Health::Trouble | Health::Well) | None) => {
                entry.nudges.settle();
                false
            }
        };
        if due && !std::mem::replace(&mut entry.nudging, due) {
            // Calls fail until it has the new value.
            if health == Some(Health::Refused) {
                self.to_nudge.push_front(pod.clone());
            } else {
                self.to_nudge.push_back(pod.clone());
            }
        }
        entry.line = if heard.report.silence.is_some() { Line::Silent } else { Line::Answering };
        let pause = entry.pace.next(heard, now);
        entry.pause = if heard.is_behind() { pause } else { spread(pause, &entry.uid) };
        // Before its nudge has gone out there is nothing to ask for; a pod that loads by itself tells so.
        if !entry.nudging && heard.report.pod.address.is_some() {
            self.wait(pod);
        }
    }

    /// A nudge has gone out, for which the API server took so long: the pod is asked when it should have had its effect.
    fn nudged(&mut self, pod: ObjectKey, took: Duration) {
        if let Some(entry) = self.entries.get_mut(&pod) {
            entry.nudging = false;
            entry.nudges.wait(Instant::now(), took);
            self.wait(pod);
        }
    }

    /// Has a pod wait for its next question, unless it waits for one already.
    fn wait(&mut self, pod: ObjectKey) {
        let Some(entry) = self.entries.get(&pod).filter(|entry| entry.timer.is_none()) else { return };
        let (line, pause) = (entry.line, entry.pause);
        let timer = self.line(line).insert(pod.clone(), pause);
        if let Some(entry) = self.entries.get_mut(&pod) {
            entry.timer = Some((line, timer));
        }
    }

    fn forget(&mut self, pod: &ObjectKey) {
        if let Some((line, timer)) = self.entries.remove(pod).and_then(|entry| entry.timer) {
            self.line(line).remove(&timer);
        }
    }
}

impl Asker {
    /// Asks these pods.
    #[must_use]
    pub fn new(client: Client, state_client: StateClient, pods: Arc<Pods>, metrics: Arc<Metrics>) -> Self {
        Self { client, state_client, pods, metrics }
    }

    /// Asks one pod.
    async fn ask(&self, pod: PodView) -> Option<Heard> {
        let said = self.state_client.state(&pod).await;
        self.metrics.state_poll(said.is_ok());
        let said = said.map_err(|error| {
            tracing::debug!(pod = %pod.key.name, error = %crate::telemetry::chain(&error), "pod state not read");
            error.why()
        });
        self.pods.heard(&pod, said, Instant::now())
    }

    /// Nudges a pod, if it is still there. Says how long the API server took.
    async fn nudge(self, pod: ObjectKey) -> (ObjectKey, Duration) {
        let started = Instant::now();
        if let Some((view, target)) = self.pods.aimed_pod(&pod) {
            let value = next_value(view.nudged.as_deref(), &target.revision);
            let nudged = nudge(self.client.clone(), &view, &value).await;
            self.metrics.nudge(nudged.is_ok());
            match nudged {
                Ok(()) => tracing::debug!(pod = %pod.name, value, "pod nudged"),
                Err(error) => {
                    let error =
                        error.map_or_else(|| "no answer in time".into(), |error| crate::telemetry::chain(&*error));
                    tracing::warn!(pod = %pod.name, error, "pod not nudged; the kubelet refreshes it later");
                }
            }
        }
        (pod, started.elapsed())
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

#[cfg(test)]
mod tests;
