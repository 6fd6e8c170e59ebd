//! A turn held against its guardrails: on the way in, on the way out, and in between.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::{Agent, Ledger, Turn};
use crate::error::{ErrorCode, RunError};
use crate::event::{Finish, TurnEvent, TurnRequest};
use crate::guardrail::{Action, Block, Direction, Flow, Hit, Kind, Screened, Subject};
use crate::message::{Message, Role};
use crate::pattern::PatternEnd;

/// The tokens of a run on their way to the caller.
pub(super) struct Outgoing {
    flow: Mutex<Flow>,
    blocked: Notify,
}

impl Outgoing {
    /// Past these rules; none: there is nothing that tokens are held against.
    pub(super) fn of(agent: &Agent) -> Option<Arc<Self>> {
        let guardrails = &agent.guardrails;
        guardrails
            .screens(Subject::Answer)
            .then(|| Arc::new(Self { flow: Mutex::new(guardrails.flow(Subject::Answer)), blocked: Notify::new() }))
    }

    /// What can go out, now that this has come.
    pub(super) fn feed(&self, text: &str, last: bool) -> String {
        let mut flow = self.flow.lock().unwrap_or_else(PoisonError::into_inner);
        let text = flow.feed(text, last);
        if flow.block().is_some() {
            self.blocked.notify_one();
        }
        text
    }

    fn block(&self) -> Option<Block> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner).block().cloned()
    }
}

/// Holds a request against the input rules, before anything else is done with it.
pub(super) fn admit(agent: &Agent, mut request: TurnRequest, ledger: &Ledger) -> TurnRequest {
    let screen = |subject, text: &mut String| {
        let guardrails = &agent.guardrails;
        if guardrails.screens(subject) {
            *text = ledger.guarded(guardrails.screen(subject, text));
        }
    };
    screen(Subject::Message, &mut request.query);
    if let Some(handoff) = request.handoff.as_deref_mut() {
        handoff.note.iter_mut().for_each(|note| screen(Subject::Message, note));
        handoff.transcript.iter_mut().for_each(|message| screen(Subject::History, &mut message.content));
    }
    if let Some(chat) = request.chat.as_deref_mut() {
        chat.system.iter_mut().for_each(|text| screen(Subject::Message, text));
        let newest = chat.messages.iter().rposition(|message| message.role == Role::User);
        for (index, message) in chat.messages.iter_mut().enumerate() {
            match message.role {
                Role::User if Some(index) == newest => screen(Subject::Message, &mut message.content),
                Role::User => screen(Subject::History, &mut message.content),
                Role::Tool => screen(Subject::ToolResult, &mut message.content),
                Role::System | Role::Assistant => {}
            }
        }
    }
    request
}

impl Turn<'_> {
    /// Refuses another model call of a run that is blocked, or has used what it may.
    pub(crate) fn may_ask(&self) -> Result<(), RunError> {
        if self.ledger.block().is_none() {
            let used = self.ledger.tokens();
            let over = self.agent.guardrails.over_budget(used);
            self.ledger
                .blocked_by(over.or_else(|| self.ledger.tokens_max().filter(|max| used > *max).map(callers_limit)));
        }
        self.ledger.block().map_or(Ok(()), |_| Err(blocked()))
    }

    /// What another agent may use for this run, in tokens: what its rules leave, and those of whoever has called it.
    pub(super) fn tokens_left(&self) -> Option<u64> {
        let used = self.ledger.tokens();
        let limits = self.agent.guardrails.tokens_max().into_iter().chain(self.ledger.tokens_max());
        limits.map(|max| max.saturating_sub(used)).min()
    }

    /// Waits until a rule blocks what the model is saying; for ever, if none does.
    pub(super) async fn silenced(&self) -> RunError {
        match &self.events.outgoing {
            Some(outgoing) => {
                outgoing.blocked.notified().await;
                self.ledger.blocked_by(outgoing.block());
                blocked()
            }
            None => std::future::pending().await,
        }
    }

    /// Fails once a rule has blocked what was said.
    pub(super) fn unless_silenced(&self) -> Result<(), RunError> {
        let block = self.events.outgoing.as_ref().and_then(|outgoing| outgoing.block());
        let Some(block) = block else { return Ok(()) };
        self.ledger.blocked_by(Some(block));
        Err(blocked())
    }

    /// What a caller gives to a tool without a model in between: held against the rules as a question is.
    pub(super) fn given(&self, mut arguments: Value) -> Value {
        if self.agent.guardrails.screens(Subject::Message) {
            self.ledger.guarded(self.agent.guardrails.screen_json(Subject::Message, &mut arguments));
        }
        arguments
    }

    /// What the model gets to see of a tool's result, and whether it still counts as a success.
    pub(super) fn tool_result(&self, result: String, ok: bool) -> (String, bool) {
        if !self.agent.guardrails.screens(Subject::ToolResult) {
            return (result, ok);
        }
        let screened = self.agent.guardrails.screen(Subject::ToolResult, &result);
        match screened.block.clone() {
            Some(block) => (withheld(&self.ledger.noted(screened, &block)), false),
            None => (self.ledger.guarded(screened), ok),
        }
    }

    /// What callers get to see of a text on the way to the answer. One that a rule blocks is withheld; the run goes on.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        if !self.agent.guardrails.screens(Subject::Step) {
            return text.to_owned();
        }
        let screened = self.agent.guardrails.screen(Subject::Step, text);
        match screened.block.clone() {
            Some(block) => withheld(&self.ledger.noted(screened, &block)),
            None => self.ledger.guarded(screened),
        }
    }

    /// The same for the texts of a JSON value.
    #[must_use]
    pub fn shown_json(&self, value: &Value) -> Value {
        if !self.agent.guardrails.screens(Subject::Step) {
            return value.clone();
        }
        let mut shown = value.clone();
        let screened = self.agent.guardrails.screen_json(Subject::Step, &mut shown);
        match screened.block.clone() {
            Some(block) => Value::String(withheld(&self.ledger.noted(screened, &block))),
            None => {
                self.ledger.guarded(screened);
                shown
            }
        }
    }

    /// Holds the end of a pattern against the output rules: what a rule has blocked, on the way or now, ends with the
    /// rule's message.
    pub(super) async fn conclude(&self, end: Result<PatternEnd, RunError>) -> Result<PatternEnd, RunError> {
        if let Some(outgoing) = self.events.outgoing.as_ref().filter(|_| end.is_ok() && self.ledger.block().is_none()) {
            let rest = outgoing.feed("", true);
            if !rest.is_empty() {
                self.events.send(TurnEvent::Token(rest)).await;
            }
            self.ledger.blocked_by(outgoing.block());
        }
        let end = match (end, self.ledger.block()) {
            (_, Some(block)) => return Ok(refusal(&block)),
            (Err(error), None) => return Err(error),
            (Ok(end), None) => end,
        };
        if !self.agent.guardrails.screens(Subject::Answer) {
            return Ok(end);
        }
        let answer = self.ledger.guarded(self.agent.guardrails.screen(Subject::Answer, &end.answer));
        let mut end = PatternEnd { answer, ..end };
        for call in &mut end.client_calls {
            call.arguments = self.shown_json(&call.arguments);
        }
        end.transcript.iter_mut().for_each(|message| self.kept(message));
        Ok(self.ledger.block().map_or(end, |block| refusal(&block)))
    }

    /// What the memory keeps of a message is what callers have seen of it.
    fn kept(&self, message: &mut Message) {
        let subject = if message.role == Role::Assistant { Subject::Answer } else { Subject::Step };
        message.content = match message.role {
            Role::Assistant => self.agent.guardrails.screen(subject, &message.content).text,
            Role::System | Role::User | Role::Tool => self.shown(&message.content),
        };
        message.reasoning = message.reasoning.take().map(|thoughts| self.shown(&thoughts));
        for call in &mut message.tool_calls {
            call.arguments = self.shown_json(&call.arguments);
        }
    }

    /// Data that a model was asked for apart from the answer. What a rule blocks in it blocks the run.
    pub(super) fn screened_data(&self, mut data: Value) -> Value {
        self.ledger.guarded(self.agent.guardrails.screen_json(Subject::Answer, &mut data));
        data
    }
}

/// A limit of whoever has called this agent; that one's own rule has the words for the user.
fn callers_limit(max: u64) -> Block {
    let (direction, kind, action) = (Direction::Input, Kind::CostLimit, Action::Block);
    let reason = format!("token budget of the calling agent exceeded ({max} were left)");
    let message = "The token budget of the agent that has asked is used up.".to_owned();
    Block { hit: Hit { direction, kind, action, reason }, message }
}

/// What a blocked run ends with.
pub(super) fn refusal(block: &Block) -> PatternEnd {
    PatternEnd {
        answer: block.message.clone(),
        finish: Finish::Blocked,
        transcript: vec![Message::new(Role::Assistant, block.message.clone())],
        truncated: false,
        client_calls: Vec::new(),
    }
}

/// Ends a pattern; no caller reads it, because the answer is the rule's message.
fn blocked() -> RunError {
    RunError::new(ErrorCode::Internal, "a guardrail has blocked the run")
}

fn withheld(reason: &str) -> String {
    format!("withheld by a guardrail: {reason}")
}

impl Ledger {
    /// Books what the rules have found, and gives what is left of the text.
    pub(super) fn guarded(&self, screened: Screened) -> String {
        let Screened { text, hits, block } = screened;
        let mut booked = self.lock();
        booked.guardrail_hits.extend(hits);
        if booked.block.is_none() {
            booked.block = block;
        }
        text
    }

    /// Books what the rules have found in a text that is withheld, and gives the reason; the run is not blocked by it.
    fn noted(&self, screened: Screened, block: &Block) -> String {
        self.guarded(Screened { block: None, ..screened });
        block.hit.reason.clone()
    }

    /// Books that a rule has blocked the run, unless one has before.
    pub(crate) fn blocked_by(&self, block: Option<Block>) {
        let mut booked = self.lock();
        if let Some(block) = block.filter(|_| booked.block.is_none()) {
            booked.guardrail_hits.push(block.hit.clone());
            booked.block = Some(block);
        }
    }

    /// The rule that has blocked the run.
    pub(crate) fn block(&self) -> Option<Block> {
        self.lock().block.clone()
    }
}

/// What passed and yet was found, each thing once.
pub(super) fn warnings(hits: &[crate::guardrail::Hit]) -> Vec<crate::guardrail::Hit> {
    let mut warnings = Vec::new();
    for hit in hits.iter().filter(|hit| hit.action == Action::Warn) {
        if !warnings.contains(hit) {
            warnings.push(hit.clone());
        }
    }
    warnings
}
