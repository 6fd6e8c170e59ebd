//! An agent, built and ready: immutable, shared by its runs, replaced as a whole on a reload.

mod act;
mod ask;
mod baton;
mod consult;
mod execute;
mod guard;
mod identity;
mod ledger;
mod memory;
mod recall;
mod rendering;
mod spend;
mod structured;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, Stream};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::event::{TurnEvent, TurnRequest};
use crate::guardrail::Guardrails;
use crate::model::router::Router;
use crate::output::OutputSchema;
use crate::pattern::Pattern;
use crate::ports::{Environment, RunObserver};
use crate::prompt::Prompts;
use crate::service::{Run, RunOptions};
use crate::tool::{Desk, ToolSet};

pub use ask::Asking;
pub(crate) use baton::{Baton, Passed};
pub(crate) use consult::Voice;
pub use execute::{Executed, ToolRequest};
pub use identity::Identity;
pub use ledger::{Booked, Ledger, Others};
pub use memory::{AgentMemory, ConversationMemory, EpisodicMemory, SemanticMemory};

/// Events between a run and its reader. A slow reader slows the run down, and never more than this is buffered.
const EVENTS_BUFFERED: usize = 64;

/// An agent with everything that its turns need.
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Name for people.
    pub display_name: Option<String>,
    /// One sentence of purpose.
    pub description: Option<String>,
    /// Its prompts.
    pub prompts: Prompts,
    /// Its models by role.
    pub models: Models,
    /// Its tools.
    pub tools: ToolSet,
    /// How a run proceeds.
    pub pattern: Pattern,
    /// What form its answers have as data.
    pub output: Option<OutputSchema>,
    /// What questions, tool results and answers are held against.
    pub guardrails: Guardrails,
    /// The whole run.
    pub timeout: Duration,
    /// What it remembers; none: nothing.
    pub memory: Option<AgentMemory>,
    /// What it may use in a window of time; none: whatever its runs take.
    pub budget: Option<Budget>,
    /// Clock and ids.
    pub environment: Arc<dyn Environment>,
    /// Told of every run that ends.
    pub observer: Arc<dyn RunObserver>,
}

/// The models of an agent.
#[derive(Clone)]
pub struct Models {
    /// For every job that has no model of its own.
    pub default: Router,
    /// For single jobs, by role.
    pub roles: BTreeMap<String, Router>,
}

impl Models {
    /// The models of a role, else the default ones.
    #[must_use]
    pub fn of(&self, role: &str) -> &Router {
        self.roles.get(role).unwrap_or(&self.default)
    }

    /// All of them, the default ones first.
    pub fn all(&self) -> impl Iterator<Item = &Router> {
        std::iter::once(&self.default).chain(self.roles.values())
    }
}

/// Where a run says what happens.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<TurnEvent>,
    /// Whether somebody reads along; else only the end is told.
    streaming: bool,
    /// Whether what is said is the answer, and not on the way to it.
    aloud: bool,
    /// What tokens pass on their way out; absent: nothing.
    outgoing: Option<Arc<guard::Outgoing>>,
}

impl Events {
    /// Nobody reads along.
    #[must_use]
    pub fn silent() -> Self {
        Self { sender: mpsc::channel(1).0, streaming: false, aloud: false, outgoing: None }
    }

    /// Says it, waiting for a slow reader.
    pub async fn send(&self, event: TurnEvent) {
        if self.streaming || event.is_end() {
            // A reader that is gone drops the run itself in the same moment: there is nobody left to tell.
            drop(self.sender.send(event).await);
        }
    }

    /// The same for a part of the run whose text is not the answer.
    #[must_use]
    pub fn quiet(&self) -> Self {
        Self { aloud: false, ..self.clone() }
    }

    /// Says a piece of the answer. Returns whether it has gone out, so that it cannot be taken back.
    pub async fn token(&self, text: String) -> bool {
        let goes_out = self.streaming && self.aloud;
        if goes_out {
            let text = match &self.outgoing {
                Some(outgoing) => outgoing.feed(text, false).await,
                None => text,
            };
            if !text.is_empty() {
                self.send(TurnEvent::Token(text)).await;
            }
        }
        goes_out
    }
}

/// A run under way, as its pattern sees it. Parts of it that go on at the same time share it.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// What is asked.
    pub request: &'a TurnRequest,
    /// Which run it is.
    pub identity: &'a Identity,
    /// When it ends at the latest, with everything that it calls.
    pub deadline: Instant,
    /// What it has used and done so far.
    pub ledger: &'a Ledger,
    /// Where it says what happens.
    pub events: &'a Events,
    /// Where it waits for people and for its caller.
    pub desk: &'a Desk,
    /// What the agent remembers of the session, as prompts see it.
    pub memory: &'a Value,
}

impl Agent {
    /// What its memory knows it by: `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Starts a run: nothing happens until its events are polled, and dropping them stops it at once.
    ///
    /// `held` is kept until the run has ended: a permit, a count. Whoever polls the events on after their end lets the
    /// agent sum up what it remembers of the session, which the next run else makes up for, and write what need not
    /// be written before.
    pub fn start<H: Send + 'static>(self: Arc<Self>, request: TurnRequest, options: RunOptions, held: H) -> Run {
        let identity = Identity::new(&*self.environment, request.session_id.clone(), &options);
        let desk = Arc::new(Desk::new(options.attended));
        let at_desk = Arc::clone(&desk);
        let limit = options.timeout.map_or(self.timeout, |asked| asked.min(self.timeout));
        let run_id = identity.run_id.clone();
        // Held until the run has written what can wait, too.
        let account = (options.bill, options.tokens_max, options.bytes.clone());
        let (sender, receiver) = mpsc::channel(EVENTS_BUFFERED);
        let turn = async move {
            let outgoing = if options.streaming && !options.quiet { guard::Outgoing::of(&self) } else { None };
            let events = Events { sender, streaming: options.streaming, aloud: !options.quiet, outgoing };
            let unwritten = turn::run(&self, request, (identity, account), limit, (events, &at_desk)).await;
            drop(held);
            unwritten.write(&self).await;
            drop(options.bytes);
        };
        Run { run_id, events: told(Box::pin(turn), receiver).boxed(), desk }
    }
}

/// What a turn says, which goes on only while somebody waits for it.
///
/// Turn and reader are one task. The queue is therefore looked into after the turn was polled, and nobody waits on it: an
/// event would else wake the task that has just sent it, and every piece of an answer would be a second round of the
/// connection.
fn told(turn: BoxFuture<'static, ()>, mut receiver: mpsc::Receiver<TurnEvent>) -> impl Stream<Item = TurnEvent> {
    let mut turn = Some(turn);
    stream::poll_fn(move |context| {
        loop {
            if let Ok(event) = receiver.try_recv() {
                return Poll::Ready(Some(event));
            }
            let Some(going_on) = &mut turn else { return Poll::Ready(None) };
            match going_on.poll_unpin(context) {
                Poll::Ready(()) => turn = None,
                Poll::Pending => return receiver.try_recv().map_or(Poll::Pending, |event| Poll::Ready(Some(event))),
            }
        }
    })
}
