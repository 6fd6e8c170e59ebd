//! `swarm`: agents hand the conversation over to each other; whoever has it answers.
//!
//! ```text
//!  asked agent ── its own loop ──► handoff ─► another agent ── its own loop ──► handoff ─► …
//!       ▲                                          │                              │
//!       └────────── keeps the conversation, and takes it from one to the next ◄───┘
//! ```
//!
//! An agent that hands the conversation on ends its run with that, so that no run waits for another one but the first.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::PatternEnd;
use super::tool_loop::{self, Job, PARAGRAPH};
use crate::agent::{Baton, Turn, Voice};
use crate::error::RunError;
use crate::event::{Finish, HandedOn, Handoff, RunAnswer, TurnRequest};
use crate::guardrail::Block;
use crate::message::{Message, Role};
use crate::peer::Target;

/// Its models are those of this role, if there are any.
const ROLE: &str = "reasoner";

/// The most that an agent is told of a conversation, and of what was found out in it, in messages and characters each.
const MESSAGES_MAX: usize = 40;
const TRANSCRIPT_CHARS_MAX: usize = 32_000;
const FINDING_CHARS_MAX: usize = 2_000;
const NOTE_CHARS_MAX: usize = 16_000;

/// The settings of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// The most model calls with tools of each agent that has the conversation.
    pub iterations_max: u32,
    /// How often the conversation may be handed over in one turn.
    pub handoffs_max: u32,
    /// Everyone whom the conversation can get to, by `namespace/name`.
    pub peers: BTreeMap<String, Target>,
}

impl Swarm {
    pub(super) async fn run(&self, turn: &Turn<'_>, conversation: Vec<Message>) -> Result<PatternEnd, RunError> {
        match turn.request.handoff.as_deref() {
            Some(handoff) => self.hold(turn, conversation, handoff).await,
            None => Relay::new(self, turn, conversation).run().await,
        }
    }

    /// Works on a conversation that was handed over, until there is an answer or somebody else who shall have it.
    async fn hold(
        &self,
        turn: &Turn<'_>,
        conversation: Vec<Message>,
        handoff: &Handoff,
    ) -> Result<PatternEnd, RunError> {
        turn.ledger.take_up(Baton::new(handoff.left, handoff.peers.iter().cloned()));
        self.own_loop(turn, conversation).await
    }

    async fn own_loop(&self, turn: &Turn<'_>, conversation: Vec<Message>) -> Result<PatternEnd, RunError> {
        let job = Job { role: ROLE, conversation, iterations_max: self.iterations_max, answers: true };
        let mut end = tool_loop::run(turn, job).await?;
        if end.finish == Finish::Stop && turn.ledger.refused_to_pass() {
            end.finish = Finish::StepLimit;
        }
        Ok(end)
    }
}

/// Takes the conversation from one agent to the next.
struct Relay<'a> {
    swarm: &'a Swarm,
    turn: &'a Turn<'a>,
    /// The asked agent's own side: what was said before, the question, and what it has done.
    own: Vec<Message>,
    /// Where in it the question ends.
    question: usize,
    /// What this agent was told when the conversation came back to it; not kept.
    told: Vec<String>,
    /// Everything that was said to the user in this turn.
    answer: String,
    truncated: bool,
    left: u32,
    /// Who hands over next, and what they say of it.
    from: String,
    note: Option<String>,
}

impl<'a> Relay<'a> {
    fn new(swarm: &'a Swarm, turn: &'a Turn<'a>, own: Vec<Message>) -> Self {
        Self {
            swarm,
            turn,
            question: own.len(),
            own,
            told: Vec::new(),
            answer: String::new(),
            truncated: false,
            left: swarm.handoffs_max,
            from: turn.agent.name.clone(),
            note: None,
        }
    }

    async fn run(mut self) -> Result<PatternEnd, RunError> {
        // Whoever had the conversation last goes on with it, as long as it can be got to.
        let remembered = self.turn.ledger.holder();
        let mut holder = remembered.and_then(|key| self.swarm.peers.get(&key));
        loop {
            self.turn.ledger.held_by(holder.map(Target::key));
            let handed_on = match holder {
                None => {
                    self.gap().await;
                    let baton = Baton::new(self.left, self.swarm.peers.keys().cloned());
                    self.turn.ledger.take_up(baton);
                    let end = self.swarm.own_loop(self.turn, self.own.clone()).await?;
                    let passed = self.turn.ledger.passed().filter(|_| end.finish == Finish::Handoff);
                    let Some(passed) = passed else { return Ok(self.answered_itself(end)) };
                    self.answer.push_str(&end.answer);
                    self.own.extend(end.transcript);
                    self.from.clone_from(&self.turn.agent.name);
                    passed
                }
                Some(target) => match self.hand_to(target).await? {
                    Some(answer) => match answer.handoff.clone() {
                        Some(passed) => passed,
                        None => return Ok(self.answered_by(answer)),
                    },
                    None => {
                        holder = None;
                        continue;
                    }
                },
            };
            self.left = self.left.saturating_sub(1);
            holder = self.swarm.peers.get(&handed_on.agent);
            self.note = handed_on.note.clone();
            if holder.is_none() {
                self.back(&handed_on);
            }
        }
    }

    /// Has another agent go on. `None` where it could not; then the asked agent goes on itself.
    async fn hand_to(&mut self, target: &Target) -> Result<Option<RunAnswer>, RunError> {
        self.gap().await;
        let started = Instant::now();
        match self.turn.consult(target, self.request(target), Voice::Answer).await {
            Ok(answer) => {
                self.answer.push_str(&answer.answer);
                self.truncated = answer.truncated;
                // Its rule holds for the whole run, unless that is this agent's own limit.
                let hit = answer.guardrail.clone().filter(|_| answer.blocked && self.turn.may_ask().is_ok());
                if let Some(hit) = hit {
                    self.turn.ledger.blocked_by(Some(Block { hit, message: answer.answer.clone() }));
                }
                target.name.clone_into(&mut self.from);
                Ok(Some(answer))
            }
            Err(error) if self.turn.out_of_time() || self.turn.ledger.block().is_some() => Err(error),
            Err(error) => {
                self.turn.took_step("handoff", &target.name, Err(&error), started).await;
                let name = &target.name;
                self.tell(format!(
                    "The agent `{name}` cannot take the conversation ({}). Answer it yourself.",
                    error.message
                ));
                Ok(None)
            }
        }
    }

    /// Between the words of two agents.
    async fn gap(&mut self) {
        if !self.answer.is_empty() && !self.answer.ends_with(PARAGRAPH) {
            self.answer.push_str(PARAGRAPH);
            self.turn.events.token(PARAGRAPH.to_owned()).await;
        }
    }

    fn request(&self, target: &Target) -> TurnRequest {
        let TurnRequest { query, context, images, .. } = self.turn.request;
        let own = format!("{}/{}", self.turn.agent.namespace, self.turn.agent.name);
        let peers = self.swarm.peers.keys().filter(|key| **key != target.key()).cloned().chain([own]).collect();
        TurnRequest {
            query: query.clone(),
            session_id: Some(target.session(&self.turn.identity.session_id)),
            context: context.clone(),
            images: images.clone(),
            chat: None,
            handoff: Some(Box::new(Handoff {
                from: self.from.clone(),
                note: self.account(),
                transcript: transcript(&self.own[..self.question]),
                left: self.left,
                peers,
            })),
        }
    }

    /// What the next one should know: why it gets the conversation, what was found out, and what the user has been told.
    fn account(&self) -> Option<String> {
        let mut account: Vec<String> = self.note.iter().map(|note| format!("It says: {note}")).collect();
        let found = self.turn.ledger.booked().steps.into_iter().filter(|step| step.step_type == "tool" && step.ok);
        account.extend(found.map(|step| {
            format!("Found out with `{}` {}: {}", step.name, step.arguments, cut(&step.result, FINDING_CHARS_MAX))
        }));
        let said = self.answer.trim();
        if !said.is_empty() {
            account.push(format!("The user has been told in this turn: {said}"));
        }
        (!account.is_empty()).then(|| cut(&account.join("\n\n"), NOTE_CHARS_MAX))
    }

    /// The conversation comes back to the asked agent.
    fn back(&mut self, handed_on: &HandedOn) {
        let note = handed_on.note.as_deref().unwrap_or_default();
        self.tell(format!("The agent `{}` has handed the conversation back to you: {note}", self.from));
    }

    /// Tells the asked agent's model something between its rounds.
    fn tell(&mut self, text: String) {
        match self.own.last_mut() {
            // Two messages of the user in a row are refused by many templates.
            Some(last) if last.role == Role::User => last.content = format!("{}\n\n{text}", last.content),
            Some(_) | None => self.own.push(Message::new(Role::User, text.clone())),
        }
        self.told.push(text);
    }

    fn answered_itself(mut self, end: PatternEnd) -> PatternEnd {
        self.answer.push_str(&end.answer);
        self.own.extend(end.transcript);
        let transcript = self.kept();
        PatternEnd { answer: self.answer, transcript, ..end }
    }

    fn answered_by(mut self, answer: RunAnswer) -> PatternEnd {
        self.own.push(Message::new(Role::Assistant, answer.answer));
        let finish = match answer.finish {
            Finish::Stop | Finish::Handoff => Finish::Handoff,
            Finish::StepLimit | Finish::Blocked => answer.finish,
        };
        let transcript = self.kept();
        PatternEnd { answer: self.answer, finish, transcript, truncated: self.truncated, client_calls: Vec::new() }
    }

    /// What the memory keeps of this turn.
    fn kept(&mut self) -> Vec<Message> {
        let mut kept = self.own.split_off(self.question);
        kept.retain(|message| message.role != Role::User || !self.told.contains(&message.content));
        kept
    }
}

/// The texts of user and assistant before the question, the newest that fit. Tools and their results are an agent's own.
fn transcript(own: &[Message]) -> Vec<Message> {
    let before = own.split_last().map_or(own, |(_question, before)| before);
    let mut texts: Vec<Message> = Vec::new();
    for message in before.iter().filter(|message| !message.content.is_empty()) {
        match (message.role, texts.last_mut()) {
            (Role::System | Role::Tool, _) => {}
            (role, Some(last)) if last.role == role => {
                last.content = format!("{}\n\n{}", last.content, message.content)
            }
            (role @ (Role::User | Role::Assistant), _) => texts.push(Message::new(role, message.content.clone())),
        }
    }
    let mut chars = 0;
    let fits = |message: &&Message| {
        chars += message.content.chars().count();
        chars <= TRANSCRIPT_CHARS_MAX
    };
    let fitting = texts.iter().rev().take(MESSAGES_MAX).take_while(fits).count();
    let newest = texts.split_off(texts.len() - fitting);
    // Templates want the user to begin.
    newest.into_iter().skip_while(|message| message.role == Role::Assistant).collect()
}

/// The beginning of a text.
fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}
