//! Everything that a call of the chat completions route carries.

use std::time::{SystemTime, UNIX_EPOCH};

use agent_pod_core::byte_pool::weight::{COPIES, of_json};
use agent_pod_core::byte_pool::{PoolError, Priority, RunBytes};
use agent_pod_core::cpu::offload;
use agent_pod_core::error::RunError;
use agent_pod_core::event::TurnRequest;
use agent_pod_core::service::{AgentService, Run, RunOptions};
use axum::body::Body;
use axum::http::HeaderMap;
use serde_json::Value;

use super::answer::Head;
use super::models::{admit, callable};
use super::request::{ParsedChat, parse_chat};
use crate::authority::Authority;
use crate::call_headers::CallHeaders;
use crate::credentials::{Admitted, Credentials};
use crate::fields::validation_failed;
use crate::json_body::{BodyLimits, JsonBody, read_json, too_large};
use crate::state::ApiState;

/// A checked call of an agent behind this door.
pub(crate) struct ChatCall {
    model: String,
    turn: TurnRequest,
    options: RunOptions,
    /// Whether the stream shall tell the tokens used.
    pub(crate) include_usage: bool,
}

/// A run of a chat call.
pub(crate) struct ChatRun {
    /// What its answer begins with.
    pub(crate) head: Head,
    /// The run.
    pub(crate) run: Run,
}

impl ChatCall {
    /// Reads headers and body. Which agent is meant stands in the body, therefore as much is read as the most generous
    /// agent takes, and only for those who may call some agent.
    ///
    /// # Errors
    /// As [`admit`] and [`read_json`]; `validation_failed` and `unsupported_content` as [`parse_chat`].
    pub(crate) async fn read(
        state: &ApiState,
        credentials: &Credentials,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, RunError> {
        let agents = &*state.agents;
        let limits = BodyLimits::of(&state.pool, &callable(agents, credentials)?);
        let called = CallHeaders::read(headers);
        let JsonBody { value, bytes, mut held } = read_json(headers, body, &limits).await?;
        let within = arguments_weight(&value);
        if within > 0 {
            let drawn =
                held.grow(COPIES * within, Priority::Call.of(held.bytes() + COPIES * within), limits.wait).await;
            drawn.map_err(PoolError::for_caller)?;
        }
        let fingerprint = called.fingerprint(&value);
        let ParsedChat { model, turn, stream, include_usage } = told(read_chat(value).await, &called)?;
        let Admitted { agent, caller } = admit(agents, credentials, &model)?;
        if bytes > agent.body_bytes_max {
            return Err(too_large(agent.body_bytes_max));
        }
        let authority = Authority { credentials, agents, caller: caller.as_ref() };
        let options = authority.options(called.options(fingerprint, stream));
        let options = RunOptions { caller, bytes: RunBytes::new(held), ..options };
        Ok(Self { model, turn, options, include_usage })
    }

    /// Whether the answer shall be a stream of chunks.
    pub(crate) fn streaming(&self) -> bool {
        self.options.streaming
    }

    /// What is held for it.
    pub(crate) fn bytes(&self) -> RunBytes {
        self.options.bytes.clone()
    }

    /// Starts the run.
    ///
    /// # Errors
    /// As [`AgentService::start`].
    pub(crate) async fn start(self, agents: &dyn AgentService) -> Result<ChatRun, RunError> {
        let run = agents.start(&self.model, self.turn, self.options).await?;
        Ok(ChatRun { head: Head::new(&run.run_id, unix_seconds(), &self.model), run })
    }
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What the arguments of earlier tool calls take once they are parsed, too: they are JSON within a text.
fn arguments_weight(body: &Value) -> usize {
    let calls = items(body, "messages").iter().flat_map(|message| items(message, "tool_calls"));
    let texts = calls.filter_map(|call| call.pointer("/function/arguments")?.as_str());
    texts.map(|text| of_json(text.as_bytes())).sum()
}

/// Reading schemas takes some ten milliseconds for the costliest that there are: not on a thread that serves sockets.
async fn read_chat(body: Value) -> Result<ParsedChat, RunError> {
    let schemas = !items(&body, "tools").is_empty() || body.pointer("/response_format/json_schema").is_some();
    if schemas { offload(move || parse_chat(body)).await } else { parse_chat(body) }
}

/// With the problems of the headers.
fn told(outcome: Result<ParsedChat, RunError>, called: &CallHeaders) -> Result<ParsedChat, RunError> {
    if called.problems.is_empty() {
        return outcome;
    }
    let of_body = outcome.err().map(|error| error.problems).unwrap_or_default();
    Err(validation_failed(of_body.into_iter().chain(called.problems.iter().cloned()).collect()))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
