//! Who has the conversation: a swarm's agents hand it over to each other.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Agent, Ledger, Turn};
use crate::event::{Finish, HandedOn, Handoff, TurnRequest};
use crate::pattern::PatternEnd;
use crate::tool::ToolSpec;

/// Whether and how a run may hand its conversation over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baton {
    /// How often it may still be handed over in this turn.
    left: u32,
    /// To whom, each as `namespace/name`.
    to: BTreeSet<String>,
    passed: Option<HandedOn>,
    /// Whether the model wanted to hand it over once more than it may.
    refused: bool,
}

/// What became of an attempt to hand the conversation over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It goes over.
    Over,
    /// It goes to this one already.
    Already(String),
    /// It cannot get there.
    NotTo,
    /// It has been handed over as often as it may be.
    NoMore,
}

impl Baton {
    /// One that may be handed over so often, to these.
    pub(crate) fn new(left: u32, to: impl IntoIterator<Item = String>) -> Self {
        Self { left, to: to.into_iter().collect(), ..Self::default() }
    }
}

impl Ledger {
    /// From now on the conversation may be handed over.
    pub(crate) fn take_up(&self, baton: Baton) {
        self.lock().baton = Some(baton);
    }

    /// Hands the conversation over at the end of this round, if it may be handed over at all.
    pub(crate) fn pass_on(&self, agent: &str, note: &str) -> Option<Passed> {
        let mut booked = self.lock();
        let baton = booked.baton.as_mut()?;
        Some(if let Some(passed) = &baton.passed {
            Passed::Already(passed.agent.clone())
        } else if baton.left == 0 {
            baton.refused = true;
            Passed::NoMore
        } else if baton.to.contains(agent) {
            baton.passed =
                Some(HandedOn { agent: agent.to_owned(), note: Some(note.to_owned()).filter(|note| !note.is_empty()) });
            Passed::Over
        } else {
            Passed::NotTo
        })
    }

    /// To whom the conversation goes.
    pub(crate) fn passed(&self) -> Option<HandedOn> {
        self.lock().baton.as_ref()?.passed.clone()
    }

    /// Whether the model wanted to hand it over once more than it may.
    pub(crate) fn refused_to_pass(&self) -> bool {
        self.lock().baton.as_ref().is_some_and(|baton| baton.refused)
    }

    /// The tools that the model is offered now: not to hand over where it cannot go, or no more.
    pub(crate) fn offered<'a>(&self, agent: &Agent, tools: &'a [ToolSpec]) -> Cow<'a, [ToolSpec]> {
        let booked = self.lock();
        let Some(baton) = &booked.baton else { return Cow::Borrowed(tools) };
        let can = |tool: &&ToolSpec| {
            let target = agent.tools.target(&tool.name);
            target.is_none_or(|target| !baton.refused && baton.to.contains(&target.key()))
        };
        tools.iter().filter(can).cloned().collect::<Vec<_>>().into()
    }

    /// Notes which other agent has the conversation.
    pub(crate) fn held_by(&self, agent: Option<String>) {
        self.lock().holder = agent;
    }

    /// The other agent that has the conversation.
    pub(crate) fn holder(&self) -> Option<String> {
        self.lock().holder.clone()
    }
}

impl Turn<'_> {
    /// Whether a conversation that was handed over to this run goes on to another agent, without an answer.
    pub(super) fn hands_on(&self, end: &PatternEnd) -> bool {
        self.request.handoff.is_some() && end.finish == Finish::Handoff
    }
}

impl TurnRequest {
    /// Whether the question comes without its conversation, so that the agent's memory has that.
    pub(super) fn is_on_its_own(&self) -> bool {
        self.chat.is_none() && self.handoff.is_none()
    }
}

impl Handoff {
    /// What the agent is told that gets the conversation: words of ours, and a name.
    pub(super) fn introduction(&self) -> String {
        format!("The agent `{}` has handed this conversation over to you. Answer the user yourself.", self.from)
    }

    /// The question with the note before it. A note is what another model has said, with results of tools inside: it
    /// stands among what is said to the agent, and not in its instructions.
    pub(super) fn noted(&self, question: &str) -> String {
        match &self.note {
            Some(note) => format!("Note of the agent `{}`:\n{note}\n\nThe user says:\n{question}", self.from),
            None => question.to_owned(),
        }
    }
}
