//! The run API as a caller reads and writes it: pure translations.
//!
//! The other pod may be anybody's: what it says is believed, within bounds. Nothing that it sends is parsed into more
//! memory than these allow, and no count of it is larger than a run could make it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{Attempt, Finish, HandedOn, Measures, RunAnswer, Step, TurnEvent, TurnRequest};
use agent_pod_core::guardrail::Hit;
use agent_pod_core::message::Message;
use agent_pod_core::money::Money;
use agent_pod_core::tool::{Decision, Ruling};
use agent_pod_core::usage::{ModelUsage, Usage};
use http::StatusCode;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The most steps, approvals and calls that are taken of one run: more than any run of ours is bound to have.
const STEPS_MAX: usize = 1024;
/// The most bytes of all their results.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most bytes of all their arguments as written; parsed they take up to some 40 times that.
const ARGUMENT_BYTES_MAX: usize = 256 * 1024;
/// The most tries of providers.
const ATTEMPTS_MAX: usize = 1024;
/// The most models, and the most things that were missing.
const NAMES_MAX: usize = 64;
/// The most of anything that is counted: a trillion tokens, so that sums stay whole numbers in every JSON parser.
const COUNT_MAX: u64 = 1_000_000_000_000;
/// The most that a run can have cost: a million dollars.
const NANODOLLARS_MAX: u64 = 1_000_000_000_000_000;
/// The longest note and the longest message, in characters; of what doors take and of what people read.
const NOTE_CHARS_MAX: usize = 32_000;
const MESSAGE_CHARS_MAX: usize = 4_000;
/// The longest id of a run.
pub(super) const RUN_ID_BYTES_MAX: usize = 128;

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

/// Reads what another pod says of one run, and takes no more of it than a run has use for.
#[derive(Debug)]
pub(super) struct Reader(Bounds);

impl Default for Reader {
    fn default() -> Self {
        Self(Bounds { steps: STEPS_MAX, text_bytes: TEXT_BYTES_MAX, argument_bytes: ARGUMENT_BYTES_MAX })
    }
}

impl Reader {
    /// The event of a frame; nothing inside for one that is not known here, or that is too much. `None`: the frame is no
    /// event.
    pub(super) fn event(&mut self, data: &str) -> Option<Option<TurnEvent>> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(rename = "type", borrow)]
            name: Cow<'a, str>,
        }
        let named: Named<'_> = serde_json::from_str(data).ok()?;
        let Self(bounds) = self;
        Some(match named.name.as_ref() {
            "token" => Some(TurnEvent::Token(serde_json::from_str::<TokenBody>(data).ok()?.content)),
            "tool_call" => {
                let CallBody { id, name, arguments, .. } = serde_json::from_str(data).ok()?;
                bounds.step().then(|| TurnEvent::ToolCall { id, name, arguments: bounds.arguments(arguments) })
            }
            "tool_result" => {
                let ResultBody { id, name, ok, result } = serde_json::from_str(data).ok()?;
                bounds.step().then(|| TurnEvent::ToolResult { id, name, ok, result: bounds.text(result) })
            }
            "approval_required" => {
                let CallBody { id, call_id, name, arguments, expires_at } = serde_json::from_str(data).ok()?;
                // A release before this one asks for an approval by the id of the call.
                let call_id = call_id.unwrap_or_else(|| id.clone());
                let arguments = bounds.arguments(arguments);
                bounds.step().then(|| TurnEvent::ApprovalRequired { id, call_id, name, arguments, expires_at })
            }
            "step" => {
                let StepEventBody { step_type: kind, name, agent, ok, result } = serde_json::from_str(data).ok()?;
                bounds.step().then(|| {
                    let (step_type, result) = (step_type(&kind), bounds.text(result));
                    TurnEvent::Step(Box::new(Step { step_type, name, agent, ok, result, ..Step::default() }))
                })
            }
            "done" => Some(TurnEvent::Done(Box::new(answer(data.as_bytes())?))),
            "error" => {
                let Failure { error } = serde_json::from_str(data).ok()?;
                Some(TurnEvent::Error(Box::new(read_error(error))))
            }
            _ => None,
        })
    }
}

/// What is left of what is taken.
#[derive(Debug)]
struct Bounds {
    steps: usize,
    text_bytes: usize,
    argument_bytes: usize,
}

impl Bounds {
    /// Whether another step is taken.
    fn step(&mut self) -> bool {
        let takes = self.steps > 0;
        self.steps = self.steps.saturating_sub(1);
        takes
    }

    /// As much of a text as is taken.
    fn text(&mut self, mut text: String) -> String {
        text.truncate(text.floor_char_boundary(self.text_bytes));
        self.text_bytes -= text.len();
        text
    }

    /// Arguments, as long as they are taken: parsed they are many times as large as they were.
    fn arguments(&mut self, written: Option<Box<RawValue>>) -> Value {
        let written = written.as_ref().map_or("null", |written| written.get());
        let Some(left) = self.argument_bytes.checked_sub(written.len()) else { return Value::Null };
        self.argument_bytes = left;
        serde_json::from_str(written).unwrap_or_default()
    }
}

/// An answer that comes as one document.
pub(super) fn answer(body: &[u8]) -> Option<RunAnswer> {
    Some(read_answer(serde_json::from_slice(body).ok()?))
}

/// Why a call was refused.
pub(super) fn refusal(name: &str, status: StatusCode, body: &[u8]) -> RunError {
    let said = serde_json::from_slice::<Failure>(body).ok().map(|failure| read_error(failure.error));
    said.unwrap_or_else(|| {
        let code = if status.is_server_error() { ErrorCode::Internal } else { ErrorCode::ValidationFailed };
        RunError::new(code, format!("the agent `{name}` answered {}", status.as_u16()))
    })
}

#[derive(Deserialize)]
struct TokenBody {
    #[serde(default)]
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallBody {
    #[serde(default)]
    id: String,
    #[serde(default)]
    call_id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
    #[serde(default)]
    expires_at: String,
}

#[derive(Deserialize)]
struct ResultBody {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    result: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StepEventBody {
    #[serde(default)]
    step_type: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    result: String,
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
    #[serde(default, deserialize_with = "first::<STEPS_MAX, _, _>")]
    steps: Vec<StepBody>,
    #[serde(default)]
    usage: UsageBody,
    #[serde(default, deserialize_with = "first::<ATTEMPTS_MAX, _, _>")]
    attempts: Vec<AttemptBody>,
    #[serde(default, deserialize_with = "first::<NAMES_MAX, _, _>")]
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
    arguments: Option<Box<RawValue>>,
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
    #[serde(deserialize_with = "first::<NAMES_MAX, _, _>")]
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

fn read_answer(answer: Answer) -> RunAnswer {
    let Reader(mut bounds) = Reader::default();
    RunAnswer {
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
        steps: answer.steps.into_iter().map(|body| step(body, &mut bounds)).collect(),
        usage: usage(answer.usage),
        attempts: answer.attempts.into_iter().map(attempt).collect(),
        degraded: answer.degraded,
        handoff: answer.handoff.map(handed_on),
        trace_id: answer.trace_id,
        truncated: answer.truncated,
        ..RunAnswer::default()
    }
}

fn handed_on(HandedOnBody { agent, note }: HandedOnBody) -> HandedOn {
    HandedOn { agent, note: note.map(|note| note.chars().take(NOTE_CHARS_MAX).collect()) }
}

fn step(body: StepBody, bounds: &mut Bounds) -> Step {
    Step {
        index: body.index,
        step_type: step_type(&body.step_type),
        name: body.name,
        agent: body.agent,
        arguments: bounds.arguments(body.arguments),
        result: bounds.text(body.result),
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
        calls: used.calls.min(COUNT_MAX),
        tokens_in: used.tokens_in.min(COUNT_MAX),
        tokens_out: used.tokens_out.min(COUNT_MAX),
        tokens_cached: used.tokens_cached.min(COUNT_MAX),
        cost: cost(&used.cost),
    };
    Usage {
        tokens_in: body.tokens_in.min(COUNT_MAX),
        tokens_out: body.tokens_out.min(COUNT_MAX),
        tokens_cached: body.tokens_cached.min(COUNT_MAX),
        cost: cost(&body.cost),
        estimated: body.estimated,
        by_model: body.by_model.into_iter().map(of_model).collect(),
        ..Usage::default()
    }
}

fn cost(text: &str) -> Money {
    Money::parse(text).unwrap_or_default().min(Money::from_nanodollars(NANODOLLARS_MAX))
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

#[derive(Deserialize)]
struct Failure {
    error: ErrorBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    code: String,
    message: String,
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    details: Option<DetailsBody>,
}

#[derive(Deserialize)]
struct DetailsBody {
    #[serde(default, deserialize_with = "first::<ATTEMPTS_MAX, _, _>")]
    attempts: Vec<AttemptBody>,
    #[serde(default)]
    usage: Option<UsageBody>,
}

fn read_error(body: ErrorBody) -> RunError {
    let code = ErrorCode::ALL.iter().copied().find(|code| code.as_str() == body.code).unwrap_or(ErrorCode::Internal);
    let (attempts, used) = body.details.map(|details| (details.attempts, details.usage)).unwrap_or_default();
    let attempts = attempts.into_iter().map(attempt).collect();
    let usage = used.map(|used| Box::new(usage(used)));
    let message: String = body.message.chars().take(MESSAGE_CHARS_MAX).collect();
    let run_id = body.run_id.filter(|id| id.len() <= RUN_ID_BYTES_MAX);
    RunError { attempts, usage, run_id, ..RunError::new(code, message) }
}

/// The first entries of a list. The others are read over, so that they take no memory.
fn first<'de, const MAX: usize, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct First<const MAX: usize, T>(PhantomData<T>);

    impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for First<MAX, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MAX {
                let Some(entry) = list.next_element()? else { return Ok(kept) };
                kept.push(entry);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }

    deserializer.deserialize_seq(First::<MAX, T>(PhantomData))
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
