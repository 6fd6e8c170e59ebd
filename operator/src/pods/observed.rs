//! What is known of every agent's pods: what the watch tells of them, and what they have said themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_pod_config::{PodState, SecretPresence};
use dashmap::DashMap;
use tokio::time::Instant;

use super::PodView;
use crate::names::ObjectKey;

/// What every pod of an agent shall have loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Revision of the document.
    pub revision: String,
    /// Revision of the trust.
    pub trust: String,
}

/// What is known of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodReport {
    /// The pod.
    pub pod: PodView,
    /// What it said last; absent before it has said anything, and when it is silent.
    pub state: Option<Arc<PodState>>,
    /// Whether it has said something since it came up, or turned out to be silent.
    pub asked: bool,
    /// Questions without an answer, if it has not answered the last one.
    pub silence: Option<Silence>,
    /// Since when a server refuses its credential.
    pub refused_since: Option<Instant>,
}

/// Questions in a row without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// How many.
    pub questions: u8,
    /// Why the last one had none.
    pub why: Box<str>,
}

/// One question may get lost; after so many without an answer a pod is silent, and what it said before does not count any more.
pub const SILENT_AFTER: u8 = 3;

impl PodReport {
    /// A pod that has not been asked.
    #[must_use]
    pub fn new(pod: PodView) -> Self {
        Self { pod, state: None, asked: false, silence: None, refused_since: None }
    }

    /// Why a pod that has been asked for a while says nothing.
    #[must_use]
    pub fn silent(&self) -> Option<&str> {
        let silence = self.silence.as_ref().filter(|silence| silence.questions >= SILENT_AFTER)?;
        Some(&silence.why)
    }

    /// Whether the pod serves the target.
    #[must_use]
    pub fn has_loaded(&self, target: &Target) -> bool {
        self.state.as_ref().is_some_and(|state| {
            state.revision.as_ref() == Some(&target.revision) && state.trust.as_ref() == Some(&target.trust)
        })
    }

    /// Why the pod refused the target, if it did.
    #[must_use]
    pub fn refusal(&self, target: &Target) -> Option<String> {
        let rejected = self.state.as_ref()?.rejected.as_ref()?;
        if rejected.revision != target.revision {
            return None;
        }
        let problems: Vec<_> =
            rejected.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        Some(problems.join("; "))
    }

    /// Whether the pod has not loaded the target yet, and may still do so.
    #[must_use]
    pub fn is_behind(&self, target: &Target) -> bool {
        // A pod that is not ready and does not answer is starting: it mounts the newest document by itself.
        let reachable = self.state.is_some() || self.pod.ready;
        reachable && !self.has_loaded(target) && self.refusal(target).is_none()
    }
}

/// What is wrong as a pod says, from bad to good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// A server refused a Secret's value: calls fail. A refreshed volume may mend it.
    Refused,
    /// A Secret's key is missing. A refreshed volume may mend it.
    Missing,
    /// Something else does not work.
    Trouble,
    /// Nothing is wrong.
    Well,
}

impl Health {
    /// Reads a state.
    #[must_use]
    pub fn of(state: &PodState) -> Self {
        if state.secrets.iter().any(|secret| secret.refused) {
            return Self::Refused;
        }
        if state.secrets.iter().any(|secret| secret.state == SecretPresence::Missing) {
            return Self::Missing;
        }
        let servers = state.endpoints.iter().all(|endpoint| endpoint.reachable != Some(false));
        let circuits = state.providers.iter().all(|model| model.circuit.is_empty() || model.circuit == "closed");
        let tools =
            state.agents.iter().flat_map(|agent| &agent.tools).all(|tool| tool.state == crate::reports::TOOL_READY);
        if servers && circuits && tools && state.rejected.is_none() { Self::Well } else { Self::Trouble }
    }
}

/// What came of asking a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Whose pod it is.
    pub agent: ObjectKey,
    /// The pod as it is now known.
    pub report: PodReport,
    /// What its agent's pods shall have loaded; absent while nobody has said.
    pub target: Option<Target>,
    /// Since when they shall.
    pub since: Instant,
    /// Whether it says something else than before, by more than what changes with every call.
    pub news: bool,
}

impl Heard {
    /// Whether the pod has not loaded what it shall, and may still do so.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.target.as_ref().is_some_and(|target| self.report.is_behind(target))
    }
}

/// What is known of every agent's pods.
#[derive(Debug, Default)]
pub struct Pods {
    agents: DashMap<ObjectKey, AgentPods>,
    /// The agent of each pod.
    owners: DashMap<ObjectKey, ObjectKey>,
}

#[derive(Debug)]
struct AgentPods {
    target: Option<Target>,
    since: Instant,
    // Boxed: a node of the map has room for eleven.
    pods: BTreeMap<String, Box<PodReport>>,
}

impl AgentPods {
    fn new(now: Instant) -> Self {
        Self { target: None, since: now, pods: BTreeMap::new() }
    }
}

impl Pods {
    /// A pod is there, perhaps changed. Says whether it has to be asked at once.
    #[must_use]
    pub fn seen(&self, agent: &ObjectKey, view: PodView, now: Instant) -> bool {
        if let Some(former) = self.owners.insert(view.key.clone(), agent.clone()).filter(|former| former != agent)
            && let Some(mut known) = self.agents.get_mut(&former)
        {
            known.pods.remove(&view.key.name);
        }
        let mut known = self.agents.entry(agent.clone()).or_insert_with(|| AgentPods::new(now));
        let before = known.pods.get(&view.key.name);
        let (fresh, ready) = match before {
            Some(before) => {
                let same = (&before.pod.uid, &before.pod.address, before.pod.restarts);
                (same != (&view.uid, &view.address, view.restarts), view.ready && !before.pod.ready)
            }
            None => (true, view.ready),
        };
        let ask = view.address.is_some() && (fresh || ready);
        let name = view.key.name.clone();
        match known.pods.get_mut(&name) {
            Some(report) if !fresh => {
                report.pod = view;
                if ready {
                    report.silence = None;
                }
            }
            Some(_) | None => {
                known.pods.insert(name, Box::new(PodReport::new(view)));
            }
        }
        ask
    }

    /// A pod has gone, or is going.
    pub fn gone(&self, pod: &ObjectKey) {
        let Some((_, agent)) = self.owners.remove(pod) else { return };
        if let Some(mut known) = self.agents.get_mut(&agent) {
            known.pods.remove(&pod.name);
        }
        self.agents.remove_if(&agent, |_, known| known.pods.is_empty() && known.target.is_none());
    }

    /// Forgets what the pods of an agent that is gone shall load.
    pub fn forget(&self, agent: &ObjectKey) {
        if let Some(mut known) = self.agents.get_mut(agent) {
            known.target = None;
        }
        self.agents.remove_if(agent, |_, known| known.pods.is_empty());
    }

    /// Says what an agent's pods shall load. When that is something new, these have to be asked at once.
    #[must_use]
    pub fn aim(&self, agent: &ObjectKey, target: &Target, now: Instant) -> Vec<ObjectKey> {
        let mut known = self.agents.entry(agent.clone()).or_insert_with(|| AgentPods::new(now));
        if known.target.as_ref() == Some(target) {
            return Vec::new();
        }
        known.target = Some(target.clone());
        known.since = now;
        known.pods.values().filter(|report| report.pod.address.is_some()).map(|report| report.pod.key.clone()).collect()
    }

    /// Since when an agent's pods shall load what they shall load now.
    #[must_use]
    pub fn aimed(&self, agent: &ObjectKey) -> Option<Instant> {
        self.agents.get(agent).filter(|known| known.target.is_some()).map(|known| known.since)
    }

    /// An agent's pods, by name.
    #[must_use]
    pub fn of(&self, agent: &ObjectKey) -> Vec<PodReport> {
        self.agents
            .get(agent)
            .map(|known| known.pods.values().map(|report| PodReport::clone(report)).collect())
            .unwrap_or_default()
    }

    /// One pod.
    #[must_use]
    pub fn get(&self, pod: &ObjectKey) -> Option<PodReport> {
        let agent = self.owners.get(pod)?.clone();
        self.agents.get(&agent)?.pods.get(&pod.name).map(|report| PodReport::clone(report))
    }

    /// A pod as it is now, and what it shall have loaded.
    #[must_use]
    pub fn aimed_pod(&self, pod: &ObjectKey) -> Option<(PodView, Target)> {
        let agent = self.owners.get(pod)?.clone();
        let known = self.agents.get(&agent)?;
        Some((known.pods.get(&pod.name)?.pod.clone(), known.target.clone()?))
    }

    /// Keeps what a pod has said, or why it has not. `None` when it has gone meanwhile, or has come up anew.
    #[must_use]
    pub fn heard(&self, asked: &PodView, said: Result<PodState, String>, now: Instant) -> Option<Heard> {
        let agent = self.owners.get(&asked.key)?.clone();
        let mut known = self.agents.get_mut(&agent)?;
        let (target, since) = (known.target.clone(), known.since);
        let report = known.pods.get_mut(&asked.key.name)?;
        let same = (&report.pod.uid, report.pod.restarts) == (&asked.uid, asked.restarts);
        if !same {
            return None;
        }
        let news = match said {
            Ok(state) => report.says(state, now),
            Err(why) => report.says_nothing(why),
        };
        let report = PodReport::clone(report);
        Some(Heard { agent, report, target, since, news })
    }
}

impl PodReport {
    /// Keeps what it says. Says whether that is news.
    fn says(&mut self, state: PodState, now: Instant) -> bool {
        let told = |state: &PodState| without_clock(state.clone());
        let news = !self.asked || self.state.as_deref().map(told) != Some(told(&state));
        let refused = Health::of(&state) == Health::Refused;
        self.refused_since = refused.then(|| self.refused_since.unwrap_or(now));
        (self.silence, self.asked) = (None, true);
        self.state = Some(Arc::new(tight(state)));
        news
    }

    /// Notes that it has not answered. Says whether that is news: it is when nothing it said before counts any more.
    fn says_nothing(&mut self, why: String) -> bool {
        let before = self.silent().map(ToOwned::to_owned);
        let before_this = self.silence.as_ref().map_or(0, |silence| silence.questions);
        // One that is not ready is starting or ending: nobody expects an answer.
        let questions = if self.pod.ready { before_this.saturating_add(1) } else { 1 };
        self.silence = Some(Silence { questions, why: why.into() });
        if self.silent().is_some() {
            (self.state, self.asked, self.refused_since) = (None, true, None);
        }
        self.silent() != before.as_deref()
    }
}

/// The same without the room that was left for more: lists are read with room for four.
fn tight(mut state: PodState) -> PodState {
    state.agents.shrink_to_fit();
    state.providers.shrink_to_fit();
    state.endpoints.shrink_to_fit();
    state.secrets.shrink_to_fit();
    state
}

/// What is left of a state without what changes with every call.
fn without_clock(mut state: PodState) -> PodState {
    (state.in_flight, state.queued, state.loaded_at) = (0, 0, None);
    for model in &mut state.providers {
        model.cooling_until = None;
        model.latency_ms = model.latency_ms.map(crate::reports::coarse);
    }
    for budget in state.agents.iter_mut().filter_map(|agent| agent.budget.as_mut()) {
        let (window_end, state) = (std::mem::take(&mut budget.window_end), std::mem::take(&mut budget.state));
        *budget = agent_pod_config::BudgetState { window_end, state, ..agent_pod_config::BudgetState::default() };
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Says, observation, validated};

    fn pod(ready: bool) -> (Pods, PodView, PodState) {
        let target = validated(serde_json::json!({})).target();
        let mut report = observation(&target, &[(ready, Says::Loaded)]).pods.remove(0);
        let pods = Pods::default();
        let agent = ObjectKey { namespace: "shop".into(), name: "support".into() };
        assert!(pods.seen(&agent, report.pod.clone(), Instant::now()));
        (pods, report.pod, PodState::clone(&report.state.take().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_lost_answer_takes_nothing_and_three_do() {
        let (pods, view, state) = pod(true);
        let hear = |said: Result<PodState, &str>| {
            let heard = pods.heard(&view, said.map_err(str::to_owned), Instant::now()).unwrap();
            (heard.news, heard.report.state.is_some(), heard.report.silent().map(str::to_owned))
        };
        assert_eq!(hear(Ok(state.clone())), (true, true, None));
        for _question in 1..SILENT_AFTER {
            assert_eq!(hear(Err("no answer")), (false, true, None), "what it said before counts");
        }
        assert_eq!(hear(Err("no answer")), (true, false, Some("no answer".into())));
        assert_eq!(hear(Err("no answer")), (false, false, Some("no answer".into())));
        assert_eq!(hear(Err("status 403")), (true, false, Some("status 403".into())));
        assert_eq!(hear(Ok(state)), (true, true, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_starts_is_not_silent() {
        let (pods, mut view, _state) = pod(false);
        let silent = |view: &PodView| {
            let heard = pods.heard(view, Err("no answer".into()), Instant::now()).unwrap();
            heard.report.silent().is_some()
        };
        for _question in 0..5 {
            assert!(!silent(&view));
        }
        view.ready = true;
        let agent = ObjectKey { namespace: "shop".into(), name: "support".into() };
        assert!(pods.seen(&agent, view.clone(), Instant::now()), "it is asked when it has become ready");
        assert!(!silent(&view));
    }

    #[tokio::test(start_paused = true)]
    async fn since_when_a_credential_is_refused_is_known_until_it_is_taken() {
        let (pods, view, state) = pod(true);
        let mut refused = state.clone();
        refused.secrets[0].refused = true;
        let since =
            |state: &PodState| pods.heard(&view, Ok(state.clone()), Instant::now()).unwrap().report.refused_since;
        let first = Instant::now();
        assert_eq!(since(&refused), Some(first));
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
        assert_eq!(since(&refused), Some(first));
        assert_eq!(since(&state), None);
        assert_eq!(since(&refused), Some(Instant::now()));
    }
}
