//! The run API as a caller reads and writes it: pure translations.

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{Attempt, Finish, HandedOn, Measures, RunAnswer, Step, TurnEvent, TurnRequest};
use agent_pod_core::guardrail::Hit;
use agent_pod_core::message::Message;
use agent_pod_core::money::Money;
use agent_pod_core::tool::{Decision, Ruling};
use agent_pod_core::usage::{ModelUsage, Usage};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The body of a call.
pub(super) fn body(request: &TurnRequest, streaming: bool) -> Value {
    let TurnRequest { query, session_id, context, images, chat: _, handoff } = request;
    let handoff = handoff.as_ref().map(|handoff| {
        let text = |message: &Message| json!({"role": message.role, "content": message.content});
        json!({
            "from": handoff.from,
            "note": handoff.note,
            "transcript": handoff.transcript.iter().map(text).collect::<Vec<_>>(),
            "left": handoff.left,
            "peers": handoff.peers,
        })
    });
    json!({
        "query": query,
        "sessionId": session_id,
        "context": context,
        "images": images,
        "stream": streaming,
        "handoff": handoff,
    })
}

/// The body of a decision on an approval. Who has decided is part of the reason: the other pod knows its caller only.
pub(super) fn decision(ruling: &Ruling) -> Value {
    let decision = match ruling.decision {
        Decision::Approve => "approve",
        Decision::Deny => "deny",
    };
    let by = format!("by {}", ruling.by);
    let reason = ruling.reason.as_ref().map_or_else(|| by.clone(), |reason| format!("{reason} ({by})"));
    json!({"decision": decision, "reason": reason})
}

/// The event of a frame; nothing inside for one that is not known here. `None`: the frame is no event.
pub(super) fn event(data: &str) -> Option<Option<TurnEvent>> {
    let value: Value = serde_json::from_str(data).ok()?;
    let event = match value.get("type")?.as_str()? {
        "token" => TurnEvent::Token(text(&value, "content")),
        "tool_call" => TurnEvent::ToolCall {
            id: text(&value, "id"),
            name: text(&value, "name"),
            arguments: value.get("arguments").cloned().unwrap_or_default(),
        },
        "tool_result" => TurnEvent::ToolResult {
            id: text(&value, "id"),
            name: text(&value, "name"),
            ok: flag(&value, "ok"),
            result: text(&value, "result"),
        },
        "approval_required" => TurnEvent::ApprovalRequired {
            id: text(&value, "id"),
            name: text(&value, "name"),
            arguments: value.get("arguments").cloned().unwrap_or_default(),
            expires_at: text(&value, "expiresAt"),
        },
        "step" => TurnEvent::Step(Box::new(Step {
            step_type: step_type(&text(&value, "stepType")),
            name: text(&value, "name"),
            agent: value.get("agent").and_then(Value::as_str).map(ToOwned::to_owned),
            ok: flag(&value, "ok"),
            result: text(&value, "result"),
            ..Step::default()
        })),
        "done" => TurnEvent::Done(Box::new(read_answer(value)?)),
        "error" => TurnEvent::Error(Box::new(read_error(value.get("error")?.clone())?)),
        _ => return Some(None),
    };
    Some(Some(event))
}

/// An answer that comes as one document.
pub(super) fn answer(body: &[u8]) -> Option<RunAnswer> {
    read_answer(serde_json::from_slice(body).ok()?)
}

/// Why a call was refused.
pub(super) fn refusal(name: &str, status: StatusCode, body: &[u8]) -> RunError {
    #[derive(Deserialize)]
    struct Refusal {
        error: Value,
    }
    let said = serde_json::from_slice::<Refusal>(body).ok().and_then(|refusal| read_error(refusal.error));
    said.unwrap_or_else(|| {
        let code = if status.is_server_error() { ErrorCode::Internal } else { ErrorCode::ValidationFailed };
        RunError::new(code, format!("the agent `{name}` answered {}", status.as_u16()))
    })
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(value: &Value, field: &str) -> bool {
    value.get(field).and_then(Value::as_bool).unwrap_or_default()
}

/// What an answer says that its caller accounts for. Fields that are missing count for nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    run_id: String,
    #[serde(default)]
    agent: String,
    #[serde(default)]
    session_id: String,
    answer: String,
    #[serde(default)]
    finish: String,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    guardrail: Option<Hit>,
    #[serde(default)]
    steps: Vec<StepBody>,
    #[serde(default)]
    usage: UsageBody,
    #[serde(default)]
    attempts: Vec<AttemptBody>,
    #[serde(default)]
    degraded: Vec<String>,
    #[serde(default)]
    handoff: Option<HandedOnBody>,
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    truncated: bool,
}

#[derive(Deserialize)]
struct HandedOnBody {
    agent: String,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StepBody {
    #[serde(default)]
    index: u32,
    #[serde(rename = "type")]
    step_type: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    result: String,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    duration_ms: u64,
    #[serde(default)]
    truncated: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UsageBody {
    tokens_in: u64,
    tokens_out: u64,
    tokens_cached: u64,
    cost: String,
    estimated: bool,
    by_model: Vec<ModelUsageBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelUsageBody {
    provider: String,
    model: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    calls: u64,
    #[serde(default)]
    tokens_in: u64,
    #[serde(default)]
    tokens_out: u64,
    #[serde(default)]
    tokens_cached: u64,
    #[serde(default)]
    cost: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttemptBody {
    provider: String,
    model: String,
    outcome: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    duration_ms: u64,
    #[serde(default)]
    time_to_first_token_ms: Option<u64>,
}

fn read_answer(value: Value) -> Option<RunAnswer> {
    let answer: Answer = serde_json::from_value(value).ok()?;
    Some(RunAnswer {
        run_id: answer.run_id,
        agent: answer.agent,
        session_id_original: answer.session_id.clone(),
        session_id: answer.session_id,
        answer: answer.answer,
        finish: match answer.finish.as_str() {
            "handoff" => Finish::Handoff,
            "step_limit" => Finish::StepLimit,
            "blocked" => Finish::Blocked,
            _ => Finish::Stop,
        },
        blocked: answer.blocked,
        guardrail: answer.guardrail,
        steps: answer.steps.into_iter().map(step).collect(),
        usage: usage(answer.usage),
        attempts: answer.attempts.into_iter().map(attempt).collect(),
        degraded: answer.degraded,
        handoff: answer.handoff.map(|HandedOnBody { agent, note }| HandedOn { agent, note }),
        trace_id: answer.trace_id,
        truncated: answer.truncated,
        ..RunAnswer::default()
    })
}

fn step(body: StepBody) -> Step {
    Step {
        index: body.index,
        step_type: step_type(&body.step_type),
        name: body.name,
        agent: body.agent,
        arguments: body.arguments,
        result: body.result,
        ok: body.ok,
        duration_ms: body.duration_ms,
        truncated: body.truncated,
        approval: None,
    }
}

fn usage(body: UsageBody) -> Usage {
    let of_model = |used: ModelUsageBody| ModelUsage {
        provider: used.provider,
        model: used.model,
        role: used.role,
        calls: used.calls,
        tokens_in: used.tokens_in,
        tokens_out: used.tokens_out,
        tokens_cached: used.tokens_cached,
        cost: Money::parse(&used.cost).unwrap_or_default(),
    };
    Usage {
        tokens_in: body.tokens_in,
        tokens_out: body.tokens_out,
        tokens_cached: body.tokens_cached,
        cost: Money::parse(&body.cost).unwrap_or_default(),
        estimated: body.estimated,
        by_model: body.by_model.into_iter().map(of_model).collect(),
        ..Usage::default()
    }
}

fn attempt(body: AttemptBody) -> Attempt {
    Attempt {
        provider: body.provider,
        model: body.model,
        outcome: known(&body.outcome, OUTCOMES).unwrap_or("failed"),
        message: body.message,
        duration_ms: body.duration_ms,
        time_to_first_token_ms: body.time_to_first_token_ms,
        // The other pod has counted it.
        measures: Measures::default(),
    }
}

fn read_error(value: Value) -> Option<RunError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ErrorBody {
        code: String,
        message: String,
        #[serde(default)]
        run_id: Option<String>,
        #[serde(default)]
        details: Map<String, Value>,
    }
    let mut body: ErrorBody = serde_json::from_value(value).ok()?;
    let code = ErrorCode::ALL.iter().copied().find(|code| code.as_str() == body.code).unwrap_or(ErrorCode::Internal);
    let attempts = body.details.remove("attempts").and_then(|list| serde_json::from_value(list).ok());
    let attempts: Vec<AttemptBody> = attempts.unwrap_or_default();
    let attempts = attempts.into_iter().map(attempt).collect();
    let used = body.details.remove("usage").and_then(|used| serde_json::from_value::<UsageBody>(used).ok());
    let usage = used.map(|used| Box::new(usage(used)));
    Some(RunError { attempts, usage, run_id: body.run_id, ..RunError::new(code, body.message) })
}

/// The sorts of steps that there are.
fn step_type(text: &str) -> &'static str {
    known(text, &["tool", "approval", "plan", "stage", "branch", "delegate", "handoff"]).unwrap_or("step")
}

/// What came of tries.
const OUTCOMES: &[&str] = &[
    "ok",
    "cancelled",
    "deadline_exceeded",
    "rejected",
    "unauthorized",
    "not_found",
    "rate_limited",
    "unavailable",
    "timeout",
    "malformed",
];

fn known(text: &str, all: &[&'static str]) -> Option<&'static str> {
    all.iter().copied().find(|known| *known == text)
}
