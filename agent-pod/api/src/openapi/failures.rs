//! Which failures a route may answer with, as responses by status.

use std::collections::BTreeMap;

use agent_pod_core::error::ErrorCode;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, PartialSchema as _, ToSchema};

use super::chat::ChatErrorAnswer;
use super::schemas::ErrorAnswer;
use crate::error::status;

/// What every call may meet.
const EVERYWHERE: &[ErrorCode] = &[ErrorCode::Unauthenticated, ErrorCode::Forbidden, ErrorCode::Internal];

/// What a call that names an agent may meet.
const OF_AGENT: &[ErrorCode] = &[ErrorCode::AgentNotFound];

/// What a call with a body may meet.
const OF_BODY: &[ErrorCode] = &[
    ErrorCode::InvalidJson,
    ErrorCode::RequestTimeout,
    ErrorCode::BodyTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::ValidationFailed,
    ErrorCode::Overloaded,
];

/// What a run may meet.
const OF_RUN: &[ErrorCode] = &[
    ErrorCode::UnsupportedContent,
    ErrorCode::ProviderRejected,
    ErrorCode::IdempotencyInProgress,
    ErrorCode::IdempotencyMismatch,
    ErrorCode::ContextTooLong,
    ErrorCode::Overloaded,
    ErrorCode::SessionBusy,
    ErrorCode::BudgetExceeded,
    ErrorCode::AllCoolingDown,
    ErrorCode::AllProvidersFailed,
    ErrorCode::NoCapableProvider,
    ErrorCode::ProviderUnauthorized,
    ErrorCode::ProviderModelNotFound,
    ErrorCode::Draining,
    ErrorCode::AllCircuitsOpen,
    ErrorCode::Suspended,
    ErrorCode::DeadlineExceeded,
];

/// What a tool's call may meet.
const OF_TOOL: &[ErrorCode] = &[
    ErrorCode::ToolNotFound,
    ErrorCode::ToolForbidden,
    ErrorCode::RateLimited,
    ErrorCode::IdempotencyInProgress,
    ErrorCode::IdempotencyMismatch,
    ErrorCode::Overloaded,
    ErrorCode::BudgetExceeded,
    ErrorCode::Suspended,
    ErrorCode::DeadlineExceeded,
];

/// What an approval may meet.
const OF_APPROVAL: &[ErrorCode] = &[ErrorCode::RunNotFound, ErrorCode::AlreadyDecided];

/// What a handshake may meet.
const OF_HANDSHAKE: &[ErrorCode] = &[ErrorCode::InvalidMessage, ErrorCode::ValidationFailed, ErrorCode::Draining];

/// What a call that looks into an agent's memory may meet.
const OF_MEMORY: &[ErrorCode] = &[ErrorCode::SessionNotFound, ErrorCode::MemoryUnavailable];

/// Failures of a session's history.
pub(crate) struct HistoryFailures;

/// Failures of a search by meaning.
pub(crate) struct SemanticFailures;

/// Failures of clearing a session.
pub(crate) struct ClearFailures;

/// Failures of the list.
pub(crate) struct ListFailures;

/// Failures of one agent's description.
pub(crate) struct ShowFailures;

/// Failures of the run route.
pub(crate) struct RunFailures;

/// Failures of a tool's call.
pub(crate) struct ExecuteFailures;

/// Failures of an approval.
pub(crate) struct ApprovalFailures;

/// Failures of the handshake.
pub(crate) struct SocketFailures;

/// Failures of the list of models.
pub(crate) struct ModelsFailures;

/// Failures of one model's description.
pub(crate) struct ModelFailures;

/// Failures of a chat completion.
pub(crate) struct ChatFailures;

impl IntoResponses for HistoryFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let of_page = &[ErrorCode::ValidationFailed, ErrorCode::Overloaded];
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_AGENT, OF_MEMORY, of_page])
    }
}

impl IntoResponses for SemanticFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_AGENT, OF_MEMORY, &[ErrorCode::ValidationFailed]])
    }
}

impl IntoResponses for ClearFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_AGENT, OF_MEMORY])
    }
}

impl IntoResponses for ListFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE])
    }
}

impl IntoResponses for ShowFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_AGENT])
    }
}

impl IntoResponses for RunFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_AGENT, OF_BODY, OF_RUN])
    }
}

impl IntoResponses for ExecuteFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_AGENT, OF_BODY, OF_TOOL])
    }
}

impl IntoResponses for ApprovalFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_BODY, OF_APPROVAL])
    }
}

impl IntoResponses for SocketFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ErrorAnswer>(&[EVERYWHERE, OF_AGENT, OF_HANDSHAKE])
    }
}

impl IntoResponses for ModelsFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ChatErrorAnswer>(&[EVERYWHERE])
    }
}

impl IntoResponses for ModelFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ChatErrorAnswer>(&[EVERYWHERE, OF_AGENT])
    }
}

impl IntoResponses for ChatFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status::<ChatErrorAnswer>(&[EVERYWHERE, OF_AGENT, OF_BODY, OF_RUN])
    }
}

fn by_status<Answer: ToSchema>(groups: &[&[ErrorCode]]) -> BTreeMap<String, RefOr<Response>> {
    let mut codes: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in groups.iter().copied().flatten() {
        let of_status = codes.entry(status(*code).as_u16()).or_default();
        if !of_status.contains(code) {
            of_status.push(*code);
        }
    }
    let response =
        |(status, codes): (u16, Vec<ErrorCode>)| (status.to_string(), failure::<Answer>(status, &codes).into());
    codes.into_iter().map(response).collect()
}

fn failure<Answer: ToSchema>(status: u16, codes: &[ErrorCode]) -> Response {
    let names: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Answer::name()))).build();
    let mut response = ResponseBuilder::new().description(names.join(", ")).content("application/json", content);
    if matches!(status, 429 | 503) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let header =
            HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds until it may work again.")).build();
        response = response.header("Retry-After", header);
    }
    if codes.iter().any(|code| OF_RUN.contains(code)) {
        let description = "Id of the run, where there was one.";
        let header = HeaderBuilder::new().schema(Some(String::schema())).description(Some(description)).build();
        response = response.header("X-Run-Id", header);
    }
    if status == 401 {
        let header = HeaderBuilder::new().schema(Some(String::schema())).description(Some("`Bearer`.")).build();
        response = response.header("WWW-Authenticate", header);
    }
    response.build()
}
