//! A turn held against its guardrails: on the way in, on the way out, and in between.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::{Mutex, Notify};

use super::{Agent, Ledger, Turn};
use crate::cpu::INLINE_BYTES;
use crate::error::{ErrorCode, RunError};
use crate::event::{Finish, TurnEvent, TurnRequest};
use crate::guardrail::{Action, Block, Direction, Flow, Hit, Kind, Screened, ScreenedJson, Subject};
use crate::message::{Message, Role};
use crate::model::ResponseFormat;
use crate::pattern::PatternEnd;

/// The tokens of a run on their way to the caller.
pub(super) struct Outgoing {
    flow: Mutex<Flow>,
    block: OnceLock<Block>,
    blocked: Notify,
}

impl Outgoing {
    /// Past these rules; none: there is nothing that tokens are held against.
    pub(super) fn of(agent: &Agent) -> Option<Arc<Self>> {
        let guardrails = &agent.guardrails;
        guardrails.screens(Subject::Answer).then(|| {
            let flow = Mutex::new(guardrails.flow(Subject::Answer));
            Arc::new(Self { flow, block: OnceLock::new(), blocked: Notify::new() })
        })
    }

    /// What can go out, now that this has come.
    pub(super) async fn feed(&self, text: String, last: bool) -> String {
        let mut flow = self.flow.lock().await;
        let text = if flow.work_of(&text) <= INLINE_BYTES {
            flow.feed(&text, last)
        } else {
            // Whoever gives up half way leaves one behind that lets nothing out.
            let away = flow.away();
            let (back, text) = std::mem::replace(&mut *flow, away).pass(text, last).await;
            *flow = back;
            text
        };
        if let Some(block) = flow.block() {
            self.block.get_or_init(|| block.clone());
            self.blocked.notify_one();
        }
        text
    }

    fn block(&self) -> Option<Block> {
        self.block.get().cloned()
    }
}

/// Takes the place of an earlier message that a rule blocks. What the rule was about is not for the model.
const WITHHELD: &str = "[withheld by a guardrail]";

/// Holds all that a request brings to the model against the input rules, before anything else is done with it.
pub(super) async fn admit(agent: &Agent, mut request: TurnRequest, ledger: &Ledger) -> TurnRequest {
    let guardrails = &agent.guardrails;
    if ![Subject::Message, Subject::Context, Subject::History, Subject::ToolResult]
        .into_iter()
        .any(|subject| guardrails.screens(subject))
    {
        return request;
    }
    let mut said = Vec::new();
    each_text(agent, &mut request, &mut |subject, text| said.push((subject, text.take())));
    let mut screened = guardrails.screen_all(said).await.into_iter();
    each_text(agent, &mut request, &mut |subject, text| {
        let ScreenedJson { value, hits, block } = screened.next().unwrap_or_default();
        let rest = Screened { text: String::new(), hits, block };
        match (subject, rest.block.clone()) {
            // What was blocked before must not end the conversation now, and must not come to the model either.
            (Subject::History | Subject::ToolResult, Some(block)) => {
                ledger.noted(rest, &block);
                text.put(Value::String(WITHHELD.to_owned()));
            }
            (_, _) => {
                ledger.guarded(rest);
                text.put(value);
            }
        }
    });
    request
}

/// A text of a request.
enum Text<'a> {
    Words(&'a mut String),
    Data(&'a mut Value),
    /// A name that servers take only in certain characters.
    Name(&'a mut String),
}

impl Text<'_> {
    fn take(self) -> Value {
        match self {
            Self::Words(text) | Self::Name(text) => Value::String(std::mem::take(text)),
            Self::Data(value) => value.take(),
        }
    }

    fn put(self, screened: Value) {
        match (self, screened) {
            (Self::Words(text), Value::String(screened)) => *text = screened,
            (Self::Name(text), Value::String(screened)) => {
                // What stands in for something that was found; all else is the caller's own.
                *text = screened.replace(['[', ']', ' ', '`'], "_");
            }
            (Self::Data(value), screened) => *value = screened,
            // A text stays one.
            (Self::Words(_) | Self::Name(_), _) => {}
        }
    }
}

/// Everything of a request that can come to the model as text, always in the same order.
fn each_text(agent: &Agent, request: &mut TurnRequest, see: &mut dyn FnMut(Subject, Text<'_>)) {
    see(Subject::Message, Text::Words(&mut request.query));
    for (_, value) in request.context.iter_mut().filter(|(name, _)| agent.prompts.uses(name)) {
        see(Subject::Context, Text::Data(value));
    }
    if let Some(handoff) = request.handoff.as_deref_mut() {
        see(Subject::Context, Text::Name(&mut handoff.from));
        handoff.note.iter_mut().for_each(|note| see(Subject::Context, Text::Words(note)));
        handoff.transcript.iter_mut().for_each(|message| each_text_of(message, Subject::History, see));
    }
    let Some(chat) = request.chat.as_deref_mut() else { return };
    chat.system.iter_mut().for_each(|text| see(Subject::Message, Text::Words(text)));
    let newest = chat.messages.iter().rposition(|message| message.role == Role::User);
    for (index, message) in chat.messages.iter_mut().enumerate() {
        let subject = match message.role {
            Role::User if Some(index) == newest => Subject::Message,
            Role::System => Subject::Message,
            Role::User | Role::Assistant => Subject::History,
            Role::Tool => Subject::ToolResult,
        };
        each_text_of(message, subject, see);
    }
    for tool in &mut chat.tools {
        see(Subject::Context, Text::Name(&mut tool.name));
        see(Subject::Context, Text::Words(&mut tool.description));
        see(Subject::Context, Text::Data(&mut tool.parameters));
    }
    if let Some(ResponseFormat::JsonSchema { name, schema, strict: _ }) = &mut chat.response_format {
        see(Subject::Context, Text::Name(name));
        see(Subject::Context, Text::Data(schema));
    }
}

fn each_text_of(message: &mut Message, subject: Subject, see: &mut dyn FnMut(Subject, Text<'_>)) {
    see(subject, Text::Words(&mut message.content));
    message.reasoning.iter_mut().for_each(|thoughts| see(subject, Text::Words(thoughts)));
    for call in &mut message.tool_calls {
        see(subject, Text::Name(&mut call.name));
        see(subject, Text::Data(&mut call.arguments));
    }
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
    pub(super) async fn given(&self, arguments: Value) -> Value {
        if !self.agent.guardrails.screens(Subject::Message) {
            return arguments;
        }
        let ScreenedJson { value, hits, block } = self.agent.guardrails.screen_json(Subject::Message, arguments).await;
        self.ledger.guarded(Screened { text: String::new(), hits, block });
        value
    }

    /// What the model gets to see of a tool's result, and whether it still counts as a success.
    pub(super) async fn tool_result(&self, result: String, ok: bool) -> (String, bool) {
        if !self.agent.guardrails.screens(Subject::ToolResult) {
            return (result, ok);
        }
        let screened = self.agent.guardrails.screen_text(Subject::ToolResult, result).await;
        match screened.block.clone() {
            Some(block) => (withheld(&self.ledger.noted(screened, &block)), false),
            None => (self.ledger.guarded(screened), ok),
        }
    }

    /// What callers get to see of a text on the way to the answer. One that a rule blocks is withheld; the run goes on.
    pub async fn shown(&self, text: &str) -> String {
        if !self.agent.guardrails.screens(Subject::Step) {
            return text.to_owned();
        }
        self.unless_blocked(self.agent.guardrails.screen_text(Subject::Step, text.to_owned()).await)
    }

    /// A failure as callers see it: a server that refuses a request says so in words of its own, of which it may make any
    /// use.
    pub(super) async fn shown_failure(&self, error: RunError) -> RunError {
        if error.code != ErrorCode::ProviderRejected {
            return error;
        }
        let message = self.shown(&error.message).await;
        if message != error.message {
            self.ledger.forget_words();
        }
        RunError { message, ..error }
    }

    /// The same at once, where nobody can wait for it: a text that would take its time is withheld.
    pub(super) fn shown_at_once(&self, text: &str) -> String {
        if !self.agent.guardrails.screens(Subject::Step) {
            return text.to_owned();
        }
        if self.agent.guardrails.flow(Subject::Step).work_of(text) > INLINE_BYTES {
            return withheld("there was no time to read it");
        }
        self.unless_blocked(self.agent.guardrails.screen(Subject::Step, text))
    }

    fn unless_blocked(&self, screened: Screened) -> String {
        match screened.block.clone() {
            Some(block) => withheld(&self.ledger.noted(screened, &block)),
            None => self.ledger.guarded(screened),
        }
    }

    /// The same for the texts of a JSON value.
    pub async fn shown_json(&self, value: &Value) -> Value {
        if !self.agent.guardrails.screens(Subject::Step) {
            return value.clone();
        }
        let screened = self.agent.guardrails.screen_json(Subject::Step, value.clone()).await;
        let ScreenedJson { value, hits, block } = screened;
        let rest = Screened { text: String::new(), hits, block };
        match rest.block.clone() {
            Some(block) => Value::String(withheld(&self.ledger.noted(rest, &block))),
            None => {
                self.ledger.guarded(rest);
                value
            }
        }
    }

    /// Holds the end of a pattern against the output rules: what a rule has blocked, on the way or now, ends with the
    /// rule's message.
    pub(super) async fn conclude(&self, end: Result<PatternEnd, RunError>) -> Result<PatternEnd, RunError> {
        if let Some(outgoing) = self.events.outgoing.as_ref().filter(|_| end.is_ok() && self.ledger.block().is_none()) {
            let rest = outgoing.feed(String::new(), true).await;
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
        let mut end = end;
        let answer = std::mem::take(&mut end.answer);
        end.answer = self.ledger.guarded(self.agent.guardrails.screen_text(Subject::Answer, answer).await);
        for call in &mut end.client_calls {
            call.arguments = self.shown_json(&call.arguments).await;
        }
        for message in &mut end.transcript {
            self.kept(message).await;
        }
        Ok(self.ledger.block().map_or(end, |block| refusal(&block)))
    }

    /// What the memory keeps of a message is what callers have seen of it.
    async fn kept(&self, message: &mut Message) {
        let content = std::mem::take(&mut message.content);
        message.content = match message.role {
            Role::Assistant => self.agent.guardrails.screen_text(Subject::Answer, content).await.text,
            Role::System | Role::User | Role::Tool => self.shown(&content).await,
        };
        if let Some(thoughts) = &mut message.reasoning {
            *thoughts = self.shown(thoughts).await;
        }
        for call in &mut message.tool_calls {
            call.name = self.shown_name(std::mem::take(&mut call.name)).await;
            call.arguments = self.shown_json(&call.arguments).await;
        }
    }

    /// Data that a model was asked for apart from the answer. What a rule blocks in it blocks the run.
    pub(super) async fn screened_data(&self, data: Value) -> Value {
        let ScreenedJson { value, hits, block } = self.agent.guardrails.screen_json(Subject::Answer, data).await;
        self.ledger.guarded(Screened { text: String::new(), hits, block });
        value
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
    let mut seen = HashSet::new();
    hits.iter().filter(|hit| hit.action == Action::Warn && seen.insert(*hit)).cloned().collect()
}
