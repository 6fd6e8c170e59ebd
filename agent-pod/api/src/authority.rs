//! What only an agent may say of a run that it starts: the conversation that it hands over, how many agents have called
//! each other to get there, what they may still use. Taken from calls whose token is that of an agent's service account.

use agent_pod_core::access::Caller;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::TurnRequest;
use agent_pod_core::service::{AgentService, RunOptions};

use crate::credentials::Credentials;
use crate::fields::problem;

/// Who a call comes from, as far as it matters to what it says.
pub(crate) struct Authority<'a> {
    /// The call's own proof.
    pub(crate) credentials: &'a Credentials,
    /// Where its token is verified.
    pub(crate) agents: &'a dyn AgentService,
    /// The caller, where the called agent has asked for one.
    pub(crate) caller: Option<&'a Caller>,
}

impl Authority<'_> {
    /// The options as they hold: what the caller has no say in is left out of them.
    pub(crate) fn options(&self, options: RunOptions) -> RunOptions {
        let says = options.depth > 0 || options.tokens_max.is_some();
        if !says || self.is_agent() { options } else { RunOptions { depth: 0, tokens_max: None, ..options } }
    }

    /// Refuses a conversation that is handed over by somebody who is no agent.
    ///
    /// # Errors
    /// `forbidden`, which names the field: without it the call would be another one.
    pub(crate) fn check(&self, turn: &TurnRequest) -> Result<(), RunError> {
        if turn.handoff.is_none() || self.is_agent() {
            return Ok(());
        }
        let message = "is taken from agents only, which call with the token of their service account (`<name>-agent`); leave \
                       it out, and say what the agent should know in `query` or `context`";
        let problems = vec![problem("handoff", message)];
        Err(RunError { problems, ..RunError::new(ErrorCode::Forbidden, format!("`handoff` {message}")) })
    }

    /// An agent that lets everybody in asks for no token: what the call has brought is verified here then.
    fn is_agent(&self) -> bool {
        match self.caller {
            Some(caller) => caller.is_agent(),
            None => {
                let token = self.credentials.token();
                token
                    .and_then(|token| self.agents.verifier().verify(token).ok())
                    .is_some_and(|caller| caller.is_agent())
            }
        }
    }
}
