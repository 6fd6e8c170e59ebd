//! What is not worth a write: that pods load a new document, as long as they do so as fast as nearly all do.

use std::time::Duration;

use astromesh_crds::v1alpha1::condition;

use super::Built;
use crate::conditions::find;
use crate::controllers::agent::dereference::Inputs;

/// Most pods have a new document within half a second. An edit that nobody would see loading costs one write instead of two.
const UNSAID: Duration = Duration::from_secs(1);
/// While other agents wait for their documents, which matters more: a provider of thousands has been edited.
const UNSAID_BUSY: Duration = Duration::from_secs(15);

/// For how long it may stay unsaid that the pods of an agent load what they shall load since `waited`; `None` when the status is
/// to be written now. Until then it speaks of the former document, which the pods serve, and of its generation.
#[must_use]
pub fn loads_soon(inputs: &Inputs, built: &Built<'_>, waited: Duration, busy: bool) -> Option<Duration> {
    let (target, wanted) = (built.agent.target(), built.agent.replicas_wanted());
    let said =
        inputs.previous.revision.as_ref().and_then(|revision| revision.desired.as_ref()) == Some(&target.revision);
    let was_ready = find(&inputs.previous.conditions, condition::READY).is_some_and(|ready| ready.status == "True");
    let settled = built.failure.is_none() && built.rollout.as_ref().is_some_and(|rollout| rollout.is_complete(wanted));
    let loading = built.observation.is_some_and(|observation| observation.is_loading(&target));
    let rest = if busy { UNSAID_BUSY } else { UNSAID }.checked_sub(waited).filter(|rest| !rest.is_zero())?;
    (!said && was_ready && settled && loading).then_some(rest)
}
