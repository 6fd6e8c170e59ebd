//! Everything that a call of the chat completions route carries.

use std::time::{SystemTime, UNIX_EPOCH};

use agent_pod_core::error::RunError;
use agent_pod_core::event::TurnRequest;
use agent_pod_core::service::{AgentService, Run, RunOptions};
use axum::body::Body;
use axum::http::HeaderMap;

use super::answer::Head;
use super::models::{admit, callable};
use super::request::{ParsedChat, parse_chat};
use crate::authority::Authority;
use crate::call_headers::CallHeaders;
use crate::credentials::{Admitted, Credentials};
use crate::fields::validation_failed;
use crate::json_body::{read_json, too_large};

/// The most bytes that are read where there is no agent to set the limit.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

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
        agents: &dyn AgentService,
        credentials: &Credentials,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, RunError> {
        let limits = callable(agents, credentials)?.into_iter().map(|agent| agent.body_bytes_max);
        let called = CallHeaders::read(headers);
        let body = read_json(headers, body, limits.max().unwrap_or(BODY_BYTES_MAX)).await?;
        let fingerprint = called.fingerprint(&body.value);
        let ParsedChat { model, turn, stream, include_usage } = parsed(body.value, &called)?;
        let Admitted { agent, caller } = admit(agents, credentials, &model)?;
        if body.bytes > agent.body_bytes_max {
            return Err(too_large(agent.body_bytes_max));
        }
        let authority = Authority { credentials, agents, caller: caller.as_ref() };
        let options = authority.options(called.options(fingerprint, stream));
        let options = RunOptions { caller, ..options };
        Ok(Self { model, turn, options, include_usage })
    }

    /// Whether the answer shall be a stream of chunks.
    pub(crate) fn streaming(&self) -> bool {
        self.options.streaming
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

fn parsed(body: serde_json::Value, called: &CallHeaders) -> Result<ParsedChat, RunError> {
    match parse_chat(body) {
        outcome if called.problems.is_empty() => outcome,
        outcome => {
            let of_body = outcome.err().map(|error| error.problems).unwrap_or_default();
            Err(validation_failed(of_body.into_iter().chain(called.problems.iter().cloned()).collect()))
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
