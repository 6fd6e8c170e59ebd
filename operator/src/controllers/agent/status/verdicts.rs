//! Facts → verdicts: what holds of an agent, and why it does not.

use astromesh_crds::v1alpha1::{Reason, condition};

use super::{Built, LOAD_WITHIN, Remedy, Rollout, Stage, carried, degraded, serving};
use crate::conditions::Verdict;
use crate::controllers::agent::dereference::Inputs;
use crate::controllers::agent::observe::Observation;
use crate::controllers::agent::validate::Refusal;
use crate::names::child;
use crate::pods::{PodReport, Trouble};

const ACCEPTED: &str = "the spec is valid";
const RESOLVED: &str = "every reference resolves";
const APPLIED: &str = "every child is applied";
const SERVES_ON: &str = "what served before goes on serving";
const SERVES_NOTHING: &str = "nothing has been applied of it before";
const NO_POD: &str = "no pod is ready";

/// Every verdict on an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// The spec is valid by itself.
    pub accepted: Verdict,
    /// Every reference resolves.
    pub resolved_refs: Verdict,
    /// All children are applied.
    pub programmed: Verdict,
    /// Every ready pod serves the desired revision.
    pub loaded: Verdict,
    /// All of these, enough pods, and a model that can answer.
    pub ready: Verdict,
    /// Something optional is broken.
    pub degraded: Option<Verdict>,
    /// Work is under way.
    pub reconciling: Option<Verdict>,
    /// No progress without an edit.
    pub stalled: Option<Verdict>,
}

impl Verdicts {
    /// The column STATUS of `kubectl get`.
    #[must_use]
    pub fn in_a_word(&self, suspend: bool) -> &'static str {
        let refused =
            [&self.accepted, &self.resolved_refs, &self.programmed].into_iter().any(|verdict| !verdict.is_true());
        if self.reconciling.is_some() {
            "Rollout"
        } else if self.stalled.is_some() || refused {
            "Stalled"
        } else if suspend {
            "Suspended"
        } else if self.degraded.is_some() || !self.ready.is_true() {
            "Degraded"
        } else {
            "Ready"
        }
    }
}

/// Judges. What cannot be judged now stays as it was.
#[must_use]
pub fn verdicts(inputs: &Inputs, stage: &Stage<'_>) -> Verdicts {
    let mut verdicts = match (stage.refusal, &stage.built) {
        (Some(refusal), built) => refused(inputs, refusal, built.as_ref()),
        (None, Some(built)) => Judge { inputs, built, trouble: trouble(inputs, Some(built)) }.verdicts(),
        (None, None) => refused(inputs, &Refusal::default(), None),
    };
    verdicts.degraded = degraded::degraded(inputs, stage);
    verdicts
}

fn refused(inputs: &Inputs, refusal: &Refusal, built: Option<&Built<'_>>) -> Verdicts {
    let serves = meanwhile(inputs, built);
    let accepted = match (&refusal.invalid, &refusal.denied) {
        (Some(problems), _) => Verdict::fails(Reason::Invalid, problems.as_str()),
        (None, Some(denied)) => Verdict::unknown(Reason::Denied, denied.as_str()),
        (None, None) => Verdict::holds(ACCEPTED),
    };
    let resolved_refs = match (&refusal.unresolved, &refusal.denied) {
        (Some((reason, problems)), _) => Verdict::fails(*reason, problems.as_str()),
        (None, Some(denied)) => Verdict::unknown(Reason::Denied, denied.as_str()),
        (None, None) => Verdict::holds(RESOLVED),
    };
    let first = [&accepted, &resolved_refs].into_iter().find(|verdict| !verdict.is_true()).cloned();
    let failure = built.and_then(|built| built.failure.as_ref());
    let programmed = match (&refusal.unfit, &refusal.denied, failure, &first) {
        (Some((reason, message)), _, _, _) => Verdict::fails(*reason, message.as_str()),
        (None, Some(denied), _, _) => Verdict::fails(Reason::Denied, format!("{denied}; {serves}")),
        (None, None, Some(failure), _) => {
            let message = format!("what served before cannot be applied again: {}", failure.message);
            Verdict::fails(failure.reason, message)
        }
        (None, None, None, Some(first)) => Verdict::unknown(first.reason, format!("nothing new is applied; {serves}")),
        (None, None, None, None) => Verdict::holds(APPLIED),
    };
    let first = first.filter(|first| first.reason != Reason::Denied).unwrap_or_else(|| programmed.clone());
    let needs_edit = matches!(first.reason, Reason::Invalid | Reason::DocumentTooLarge);
    Verdicts {
        ready: Verdict::fails(first.reason, first.message.as_str()),
        stalled: needs_edit.then(|| Verdict::present(first.reason, first.message.as_str())),
        loaded: Verdict::unknown(first.reason, format!("there is nothing new to load; {serves}")),
        accepted,
        resolved_refs,
        programmed,
        degraded: None,
        reconciling: None,
    }
}

/// What callers get while nothing new is applied or loaded.
fn meanwhile(inputs: &Inputs, built: Option<&Built<'_>>) -> String {
    let serves = |report: &PodReport| report.state.as_ref().is_none_or(|state| state.revision.is_some());
    if built.is_some_and(|built| built.agent.pods.suspend) {
        "it is suspended".to_owned()
    } else if built.is_some_and(|built| built.agent.replicas_wanted() == 0) {
        "no pod is asked for".to_owned()
    } else if inputs.pods.iter().any(|report| report.pod.ready && serves(report)) {
        SERVES_ON.to_owned()
    } else if built.is_some() {
        trouble(inputs, built).map_or_else(|| NO_POD.to_owned(), |trouble| format!("{NO_POD}: {trouble}"))
    } else if inputs.previous.revision.is_some() {
        format!("{NO_POD}, and what was applied of it last cannot be read")
    } else {
        SERVES_NOTHING.to_owned()
    }
}

/// Why pods do not come, as far as anybody says so.
fn trouble(inputs: &Inputs, built: Option<&Built<'_>>) -> Option<String> {
    let pods = inputs.pods.iter().filter_map(|report| report.pod.trouble.clone());
    let not_made = built.and_then(|built| built.rollout.as_ref()).and_then(|rollout| rollout.not_made.clone());
    let mut all: Vec<Trouble> = not_made.into_iter().chain(pods).chain(inputs.volume.clone()).collect();
    all.sort();
    all.dedup();
    let told: Vec<_> = all.iter().map(ToString::to_string).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Judges an agent whose newest spec was built.
struct Judge<'a> {
    inputs: &'a Inputs,
    built: &'a Built<'a>,
    /// Why pods do not come.
    trouble: Option<String>,
}

impl Judge<'_> {
    fn verdicts(&self) -> Verdicts {
        let programmed = self.programmed();
        let loaded = self.loaded();
        let stalled = self.stalled(&loaded);
        let available = self.available(stalled.as_ref());
        let serving = serving::verdict(self.inputs, self.built);
        let asked_for_none = self.wanted() == 0 && programmed.is_true();
        // An agent that is asked to serve nothing has nothing to load.
        let checked: &[&Verdict] =
            if asked_for_none { &[&available] } else { &[&programmed, &loaded, &available, &serving] };
        let failed = checked.iter().find(|verdict| !verdict.is_true()).map(|verdict| (*verdict).clone());
        let holds = || {
            if asked_for_none { available.clone() } else { Verdict::holds("every ready pod serves this generation") }
        };
        Verdicts {
            accepted: Verdict::holds(ACCEPTED),
            resolved_refs: Verdict::holds(RESOLVED),
            ready: failed.unwrap_or_else(holds),
            degraded: None,
            reconciling: if stalled.is_some() { None } else { self.reconciling(&loaded) },
            stalled,
            programmed,
            loaded,
        }
    }

    fn wanted(&self) -> i32 {
        self.built.agent.replicas_wanted()
    }

    fn rollout(&self) -> Option<&Rollout> {
        self.built.rollout.as_ref()
    }

    /// Whether pods are being replaced, started for the first time, or stopped.
    fn is_rolling(&self) -> bool {
        self.rollout().is_some_and(|rollout| !rollout.is_complete(self.wanted())) && !self.has_lost_pods()
    }

    fn has_lost_pods(&self) -> bool {
        self.rollout().is_some_and(|rollout| rollout.has_lost_pods(self.wanted()))
    }

    fn meanwhile(&self) -> String {
        meanwhile(self.inputs, Some(self.built))
    }

    /// The words, and why pods do not come.
    fn with_trouble(&self, words: &str) -> String {
        self.trouble.as_ref().map_or_else(|| words.to_owned(), |trouble| format!("{words}: {trouble}"))
    }

    fn programmed(&self) -> Verdict {
        match (&self.built.failure, &self.inputs.unwatched) {
            (Some(failure), _) => Verdict::fails(failure.reason, failure.message.as_str()),
            (None, Some(unwatched)) => Verdict::fails(
                Reason::Denied,
                format!("every child is applied, and what others change of them is not healed: {unwatched}"),
            ),
            (None, None) => Verdict::holds(APPLIED),
        }
    }

    fn loaded(&self) -> Verdict {
        let target = self.built.agent.target();
        let nobody = Observation::default();
        let observation = match (self.built.observation, &self.built.failure) {
            (None, Some(failure)) => {
                let message = format!("there is nothing new to load; {}", self.meanwhile());
                return Verdict::unknown(failure.reason, message);
            }
            (observation, _) => observation.unwrap_or(&nobody),
        };
        if let Some(problems) = observation.pods.iter().find_map(|report| report.refusal(&target)) {
            return Verdict::fails(Reason::LoadFailed, format!("{problems}; {}", self.meanwhile()));
        }
        if self.wanted() == 0 {
            return Verdict::holds("no pod is asked for");
        }
        if observation.ready().next().is_none() {
            return self.no_pods();
        }
        if observation.all_loaded(&target) {
            return Verdict::holds("every ready pod serves the desired revision");
        }
        let before = &self.inputs.previous;
        let nothing_new =
            before.revision.as_ref().and_then(|revision| revision.desired.as_ref()) == Some(&target.revision);
        if observation.is_pending() && nothing_new {
            // In a moment the pod will have been asked; until then nobody knows better.
            if let Some(carried) = carried(&before.conditions, condition::LOADED) {
                return carried;
            }
        }
        let message = match (observation.ready().find_map(PodReport::silent), self.built.overdue) {
            (Some(why), _) => format!("a ready pod does not say which revision it serves: {why}"),
            (None, true) => format!(
                "a ready pod has not loaded the desired revision within {} minutes; `kubectl rollout restart deployment/{}` replaces it",
                LOAD_WITHIN.as_secs() / 60,
                child(&self.inputs.key.name),
            ),
            (None, false) => "pods are loading the desired revision".to_owned(),
        };
        Verdict::fails(Reason::Loading, message)
    }

    /// Whether pods load what they shall, as far as anybody can tell.
    fn is_loading(&self, loaded: &Verdict) -> bool {
        let silent = |observation: &Observation| observation.ready().any(|report| report.silent().is_some());
        loaded.reason == Reason::Loading && !self.built.overdue && !self.built.observation.is_some_and(silent)
    }

    fn no_pods(&self) -> Verdict {
        Verdict::fails(Reason::PodsUnavailable, self.with_trouble(NO_POD))
    }

    /// Whether enough pods of the current template are available.
    fn available(&self, stalled: Option<&Verdict>) -> Verdict {
        let wanted = self.wanted();
        if wanted == 0 && self.is_rolling() {
            return Verdict::fails(Reason::Rollout, "pods are being stopped");
        }
        if self.built.agent.pods.suspend {
            let message = "suspended, as spec.suspend asks for: nothing is served until it is removed";
            return Verdict::present(Reason::Suspended, message);
        }
        if wanted == 0 {
            return Verdict::holds("nothing is served, as spec.runtime.replicas asks for");
        }
        if let Some(stalled) = stalled.filter(|stalled| stalled.reason == Reason::ProgressDeadlineExceeded) {
            return Verdict::fails(
                Reason::PodsUnavailable,
                format!("{}: {}", stalled.reason.as_str(), stalled.message),
            );
        }
        let ready = self.built.observation.is_some_and(|observation| observation.ready().next().is_some());
        match self.rollout() {
            Some(rollout) if rollout.serves(wanted) => Verdict::holds("enough pods are available"),
            Some(rollout) if rollout.available >= wanted => {
                Verdict::fails(Reason::Rollout, self.with_trouble("pods of the former template are being replaced"))
            }
            Some(_) | None if !ready => self.no_pods(),
            Some(_) | None => {
                let message = self.with_trouble("fewer pods are available than asked for");
                Verdict::fails(Reason::PodsUnavailable, message)
            }
        }
    }

    fn reconciling(&self, loaded: &Verdict) -> Option<Verdict> {
        match self.built.failure.as_ref().map(|failure| failure.remedy) {
            // Somebody has to act first.
            Some(Remedy::Edit | Remedy::Others) => return None,
            Some(Remedy::Retry) => {}
            None if self.is_loading(loaded) => {}
            None if self.is_rolling() => return Some(Verdict::present(Reason::Rollout, "pods are being replaced")),
            // Nobody knows whether what keeps pods away heals by itself.
            None if self.has_lost_pods() && self.trouble.is_none() => {
                return Some(Verdict::present(Reason::Rollout, "pods are being started"));
            }
            None => return None,
        }
        Some(Verdict::present(Reason::NewGeneration, "the newest spec is being put into effect"))
    }

    /// What does not go on without an edit.
    fn stalled(&self, loaded: &Verdict) -> Option<Verdict> {
        if let Some(failure) = self.built.failure.as_ref().filter(|failure| failure.remedy == Remedy::Edit) {
            return Some(Verdict::present(failure.reason, failure.message.as_str()));
        }
        let rolling = self.is_rolling();
        // While pods are being replaced, an old one may refuse what the new ones take.
        if loaded.reason == Reason::LoadFailed && !rolling {
            return Some(Verdict::present(loaded.reason, loaded.message.as_str()));
        }
        let gave_up = self.rollout().is_some_and(|rollout| rollout.observed && rollout.deadline_exceeded);
        if gave_up && rolling {
            let message = self.with_trouble("the pods of the newest template did not become available in time");
            return Some(Verdict::present(Reason::ProgressDeadlineExceeded, message));
        }
        let permanent =
            self.inputs.pods.iter().filter_map(|report| report.pod.trouble.as_ref()).find(|trouble| trouble.permanent);
        permanent
            .filter(|_| rolling || self.has_lost_pods())
            .map(|trouble| Verdict::present(Reason::PodsUnavailable, trouble.to_string()))
    }
}
