//! Scripted ports: whole turns without a network and with a stopped clock.

mod conversations;
mod episodes;
mod meanings;
mod sandboxes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;

use crate::agent::Models;
use crate::event::Attempt;
use crate::message::Message;
use crate::model::breaker::BreakerSettings;
use crate::model::rate::RateSettings;
use crate::model::retry::RetrySettings;
use crate::model::router::{Candidate, Facts, ModelState, ProviderLoad, Router, RouterSettings, Timeouts};
use crate::model::strategy::{Capabilities, Strategy};
use crate::model::{Model, ModelError, ModelEvent, ModelRequest, ModelStream, Parameters, ResponseFormat, ToolChoice};
use crate::money::Price;
use crate::ports::{Environment, RunObserver, RunRecord};
use crate::tool::ToolSpec;
use crate::usage::Usage;

pub use conversations::TableStore;
pub use episodes::TableEpisodes;
pub use meanings::{Failure, TableMeanings, WordEmbedder};
pub use sandboxes::ThreadSandbox;

/// One event of a scripted reply.
#[derive(Clone, Debug)]
pub enum Scripted {
    /// The stream gives this.
    Event(ModelEvent),
    /// The stream breaks with this.
    Broken(ModelError),
    /// The stream says nothing for so long.
    Pause(Duration),
    /// The stream says nothing more, for ever.
    Silence,
}

/// What a model was asked, kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The model's name.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The tools.
    pub tools: Vec<ToolSpec>,
    /// Which of them.
    pub tool_choice: Option<ToolChoice>,
    /// The form of the reply.
    pub response_format: Option<ResponseFormat>,
    /// Sampling parameters.
    pub parameters: Parameters,
}

impl Recorded {
    fn of(request: &ModelRequest<'_>) -> Self {
        let ModelRequest { model, messages, tools, tool_choice, response_format, parameters } = *request;
        Self {
            model: model.to_owned(),
            messages: messages.to_vec(),
            tools: tools.to_vec(),
            tool_choice: tool_choice.cloned(),
            response_format: response_format.cloned(),
            parameters: parameters.clone(),
        }
    }
}

/// A model that says what its script says, one entry per call, and records what it was asked.
#[derive(Default)]
pub struct ScriptedModel {
    script: Mutex<VecDeque<Result<Vec<Scripted>, ModelError>>>,
    requests: Mutex<Vec<Recorded>>,
}

impl ScriptedModel {
    /// A model with this script.
    #[must_use]
    pub fn new(script: impl IntoIterator<Item = Result<Vec<Scripted>, ModelError>>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), requests: Mutex::default() })
    }

    /// A reply of this text in one piece.
    ///
    /// # Errors
    /// Never; the shape is that of a script's entry.
    pub fn text(text: &str) -> Result<Vec<Scripted>, ModelError> {
        Ok(vec![Scripted::Event(ModelEvent::Content(text.to_owned()))])
    }

    /// What it was asked, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Model for ScriptedModel {
    async fn call(&self, request: &ModelRequest<'_>) -> Result<ModelStream, ModelError> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(Recorded::of(request));
        let next = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let events = next.expect("the script has an entry for every call")?;
        let stream = stream::iter(events).filter_map(|scripted| async {
            match scripted {
                Scripted::Event(event) => Some(Ok(event)),
                Scripted::Broken(error) => Some(Err(error)),
                Scripted::Pause(time) => {
                    tokio::time::sleep(time).await;
                    None
                }
                Scripted::Silence => futures::future::pending().await,
            }
        });
        Ok(stream.boxed())
    }

    async fn models(&self) -> Result<Vec<String>, ModelError> {
        Ok(vec!["m".to_owned()])
    }
}

/// A candidate over this model: free, able to use tools, with the default bounds.
#[must_use]
pub fn candidate(provider: &str, port: Arc<dyn Model>) -> Candidate {
    let seconds = Duration::from_secs;
    Candidate {
        provider: provider.to_owned(),
        namespace: "shop".to_owned(),
        model: "m".to_owned(),
        parameters: Parameters::default(),
        timeouts: Timeouts { first_token: seconds(30), stall: seconds(30), total: seconds(120) },
        retry: RetrySettings { attempts_max: 2, budget_percent: 20 },
        facts: Facts {
            capabilities: Capabilities { tools: true, ..Capabilities::default() },
            price: Some(Price::default()),
            ..Facts::default()
        },
        port,
        state: Arc::new(ModelState::new(BreakerSettings { failures_max: 3, cooldown: seconds(60) })),
        load: Arc::new(ProviderLoad::new(256, RateSettings::default())),
    }
}

/// Models with this one role.
#[must_use]
pub fn models(strategy: Strategy, candidates: Vec<Candidate>) -> Models {
    Models { default: router("default", strategy, candidates), roles: BTreeMap::new() }
}

/// The models of a role.
#[must_use]
pub fn router(role: &str, strategy: Strategy, candidates: Vec<Candidate>) -> Router {
    Router::new(RouterSettings {
        role: role.to_owned(),
        strategy,
        requires: Capabilities::default(),
        candidates,
        rotation: Arc::default(),
    })
}

/// A clock that stands still, and ids that count.
#[derive(Default)]
pub struct FixedEnvironment {
    ids: Mutex<u64>,
    secrets: Mutex<u64>,
}

impl FixedEnvironment {
    fn next(of: &Mutex<u64>) -> u64 {
        let mut count = of.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        *count
    }
}

impl Environment for FixedEnvironment {
    fn timestamp(&self) -> String {
        "2026-01-02T03:04:05.000Z".to_owned()
    }

    fn today(&self) -> String {
        "2026-01-02".to_owned()
    }

    fn fresh_id(&self) -> String {
        format!("id-{}", Self::next(&self.ids))
    }

    fn fresh_trace_id(&self) -> String {
        "0123456789abcdef0123456789abcdef".to_owned()
    }

    fn fresh_secret(&self) -> String {
        format!("secret-{}", Self::next(&self.secrets))
    }
}

/// A clock that goes with tokio's, which tests can stop and advance.
pub struct SteppedEnvironment {
    ids: FixedEnvironment,
    begun: tokio::time::Instant,
}

impl Default for SteppedEnvironment {
    fn default() -> Self {
        Self { ids: FixedEnvironment::default(), begun: tokio::time::Instant::now() }
    }
}

impl Environment for SteppedEnvironment {
    fn timestamp(&self) -> String {
        let begun = self.ids.timestamp().parse::<jiff::Timestamp>().unwrap_or_default();
        let now = begun.checked_add(self.begun.elapsed()).unwrap_or(begun);
        format!("{now:.3}")
    }

    fn today(&self) -> String {
        self.ids.today()
    }

    fn fresh_id(&self) -> String {
        self.ids.fresh_id()
    }

    fn fresh_trace_id(&self) -> String {
        self.ids.fresh_trace_id()
    }

    fn fresh_secret(&self) -> String {
        self.ids.fresh_secret()
    }
}

/// Records the outcome of every run.
#[derive(Default)]
pub struct RecordingObserver(Mutex<Vec<(String, u64)>>);

impl RecordingObserver {
    /// Outcome and output tokens of every run that has ended.
    #[must_use]
    pub fn outcomes(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RunObserver for RecordingObserver {
    fn finished(&self, record: &RunRecord<'_>) {
        let entry = (record.outcome.to_owned(), record.usage.tokens_out);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    fn used(&self, _agent: &str, usage: &Usage, _attempts: &[Attempt]) {
        let entry = ("afterwards".to_owned(), usage.tokens_out);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}
