//! What is not worth a write: that pods load a new document, while others wait for theirs.

use std::time::Duration;

use astromesh_crds::v1alpha1::condition;

use super::Built;
use crate::conditions::find;
use crate::controllers::agent::dereference::Inputs;

/// So long it may stay unsaid: a provider of thousands has been edited, and their documents matter more.
const UNSAID: Duration = Duration::from_secs(15);

/// Whether it may stay unsaid that the pods of an agent load what they shall load since `waited`. Until it is said the status speaks of
/// the former document, which the pods serve, and of its generation. `busy`: whether other agents wait for their documents.
#[must_use]
pub fn may_wait(inputs: &Inputs, built: &Built<'_>, waited: Duration, busy: bool) -> bool {
    let (target, wanted) = (built.agent.target(), built.agent.replicas_wanted());
    let said =
        inputs.previous.revision.as_ref().and_then(|revision| revision.desired.as_ref()) == Some(&target.revision);
    let was_ready = find(&inputs.previous.conditions, condition::READY).is_some_and(|ready| ready.status == "True");
    let settled = built.failure.is_none() && built.rollout.as_ref().is_some_and(|rollout| rollout.is_complete(wanted));
    let loading = built.observation.is_some_and(|observation| observation.is_loading(&target));
    busy && waited < UNSAID && !said && was_ready && settled && loading
}
