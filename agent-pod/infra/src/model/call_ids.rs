//! Ids of tool calls for servers that send none.

use agent_pod_core::model::ModelRequest;

/// A longer id of a server's is as good as none: one of ours takes its place, for it goes through every later request.
pub(super) const ID_BYTES_MAX: usize = 256;

/// No tool has a longer name.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// What our ids begin with.
const CALL_PREFIX: &str = "call_";

/// The number of the first tool call that may be named `call_<n>` without repeating an id of the conversation.
#[must_use]
pub fn first_free_call(request: &ModelRequest<'_>) -> u64 {
    let calls = request.messages.iter().flat_map(|message| &message.tool_calls);
    let numbers = calls.filter_map(|call| call.id.strip_prefix(CALL_PREFIX)?.parse::<u64>().ok());
    numbers.max().map_or(1, |last| last.saturating_add(1))
}

/// The id of the tool call of this number.
pub(super) fn call_id(number: u64) -> String {
    format!("{CALL_PREFIX}{number}")
}
