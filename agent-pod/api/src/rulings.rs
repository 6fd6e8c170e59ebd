//! What a caller decides on a call that waits for an approval.

use agent_pod_core::tool::{Decision, Ruling};

use crate::fields::Fields;

/// The longest reason, in characters: the model reads it.
const REASON_CHARS_MAX: usize = 1000;

/// The decision in these fields; none where a problem is named.
pub(crate) fn ruling(fields: &mut Fields, by: String) -> Option<Ruling> {
    let reason = fields.text("reason");
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
        fields.refuse("reason", "must have at most 1000 characters");
    }
    let decision = match fields.required_text("decision", "`approve` or `deny`")?.as_str() {
        "approve" => Decision::Approve,
        "deny" => Decision::Deny,
        _other => {
            fields.refuse("decision", "must be `approve` or `deny`");
            return None;
        }
    };
    Some(Ruling { decision, reason, by })
}
