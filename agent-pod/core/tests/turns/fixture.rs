//! An agent over scripted models.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::agent::Turn;
use agent_pod_core::agent::{Agent, AgentMemory, ConversationMemory, Models};
use agent_pod_core::budget::Budget;
use agent_pod_core::event::{TurnEvent, TurnRequest};
use agent_pod_core::guardrail::{Guardrails, Rule};
use agent_pod_core::model::ModelEvent;
use agent_pod_core::model::retry::RetrySettings;
use agent_pod_core::model::router::{Candidate, Timeouts};
use agent_pod_core::model::strategy::Strategy;
use agent_pod_core::output::OutputSchema;
use agent_pod_core::pattern::Pattern;
use agent_pod_core::ports::{Environment, RunObserver};
use agent_pod_core::prompt::{Prompts, SYSTEM};
use agent_pod_core::service::{Run, RunOptions};
use agent_pod_core::testing::{FixedEnvironment, RecordingObserver, Scripted, ScriptedModel, candidate, models};
use agent_pod_core::tool::{Tool, ToolError, ToolSet, ToolSpec};
use async_trait::async_trait;
use futures::StreamExt as _;
use serde_json::{Value, json};

pub(crate) struct Fixture {
    pub(crate) observer: Arc<RecordingObserver>,
    models: Vec<(String, Arc<ScriptedModel>)>,
    prompt: String,
    timeouts: Timeouts,
    tools: ToolSet,
    pattern: Pattern,
    templates: Vec<(String, String)>,
    output: Option<OutputSchema>,
    memory: Option<AgentMemory>,
    guardrails: Guardrails,
    budget: Option<Box<dyn Fn() -> Budget>>,
    environment: Arc<dyn Environment>,
}

impl Fixture {
    pub(crate) fn new<const N: usize>(models: [(&str, Arc<ScriptedModel>); N]) -> Self {
        Self {
            observer: Arc::default(),
            models: models.into_iter().map(|(name, model)| (name.to_owned(), model)).collect(),
            prompt: "Be kind.".to_owned(),
            timeouts: timeouts(30, 30, 120),
            tools: ToolSet::default(),
            pattern: Pattern::React { iterations_max: 10 },
            templates: Vec::new(),
            output: None,
            memory: None,
            guardrails: Guardrails::default(),
            budget: None,
            environment: Arc::new(FixedEnvironment::default()),
        }
    }

    pub(crate) fn prompt(self, prompt: &str) -> Self {
        Self { prompt: prompt.to_owned(), ..self }
    }

    pub(crate) fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    pub(crate) fn iterations(self, iterations_max: u32) -> Self {
        Self { pattern: Pattern::React { iterations_max }, ..self }
    }

    pub(crate) fn pattern(self, pattern: Pattern) -> Self {
        Self { pattern, ..self }
    }

    pub(crate) fn template(mut self, name: &str, text: &str) -> Self {
        self.templates.push((name.to_owned(), text.to_owned()));
        self
    }

    pub(crate) fn output(self, schema: Value) -> Self {
        Self { output: Some(OutputSchema::compile("answer", schema).unwrap()), ..self }
    }

    pub(crate) fn guardrails(self, input: Vec<Rule>, output: Vec<Rule>) -> Self {
        Self { guardrails: Guardrails::new(input, output), ..self }
    }

    pub(crate) fn budget(self, budget: impl Fn() -> Budget + 'static) -> Self {
        Self { budget: Some(Box::new(budget)), ..self }
    }

    pub(crate) fn environment(self, environment: Arc<dyn Environment>) -> Self {
        Self { environment, ..self }
    }

    pub(crate) fn memory(self, memory: AgentMemory) -> Self {
        Self { memory: Some(memory), ..self }
    }

    pub(crate) fn tool_set(self, tools: ToolSet) -> Self {
        Self { tools, ..self }
    }

    /// `upper`, which works, and `broken`, which does not.
    pub(crate) fn tools(self) -> Self {
        Self { tools: ToolSet::new([Arc::new(Upper) as Arc<dyn Tool>, Arc::new(Broken)]), ..self }
    }

    pub(crate) fn agent(&self) -> Arc<Agent> {
        let candidates = self.models.iter().map(|(provider, model)| Candidate {
            timeouts: self.timeouts,
            retry: RetrySettings { attempts_max: 1, budget_percent: 20 },
            ..candidate(provider, model.clone())
        });
        self.agent_over(models(Strategy::CapabilityMatch, candidates.collect()))
    }

    /// The agent over these models.
    pub(crate) fn agent_over(&self, models: Models) -> Arc<Agent> {
        let templates = self.templates.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let templates = std::iter::once((SYSTEM, self.prompt.as_str())).chain(templates);
        Arc::new(Agent {
            name: "support".to_owned(),
            namespace: "shop".to_owned(),
            display_name: Some("Support".to_owned()),
            description: None,
            prompts: Prompts::compile(templates).unwrap(),
            output: self.output.clone(),
            models,
            tools: self.tools.clone(),
            pattern: self.pattern.clone(),
            timeout: Duration::from_secs(120),
            guardrails: self.guardrails.clone(),
            memory: self.memory.clone(),
            budget: self.budget.as_ref().map(|budget| budget()),
            environment: Arc::clone(&self.environment),
            observer: Arc::clone(&self.observer) as Arc<dyn RunObserver>,
        })
    }
}

/// A memory of conversations alone.
pub(crate) fn conversations(memory: ConversationMemory) -> AgentMemory {
    AgentMemory { conversation: Some(memory), ..AgentMemory::default() }
}

pub(crate) fn timeouts(first_token: u64, stall: u64, total: u64) -> Timeouts {
    let secs = Duration::from_secs;
    Timeouts { first_token: secs(first_token), stall: secs(stall), total: secs(total) }
}

pub(crate) fn ask(query: &str) -> TurnRequest {
    TurnRequest { query: query.to_owned(), ..TurnRequest::default() }
}

/// As the streaming doors start a run.
pub(crate) fn streamed() -> RunOptions {
    RunOptions { streaming: true, ..RunOptions::default() }
}

pub(crate) fn content(text: &str) -> Scripted {
    Scripted::Event(ModelEvent::Content(text.to_owned()))
}

pub(crate) async fn events(run: Run) -> Vec<TurnEvent> {
    run.events.collect().await
}

struct Upper;

#[async_trait]
impl Tool for Upper {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "upper".into(), description: "upper case".into(), parameters: json!({"type": "object"}) }
    }

    async fn call(&self, arguments: &Value, _: &Turn<'_>) -> Result<String, ToolError> {
        Ok(arguments.to_string().to_uppercase())
    }
}

struct Broken;

#[async_trait]
impl Tool for Broken {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "broken".into(), description: "breaks".into(), parameters: json!({"type": "object"}) }
    }

    async fn call(&self, _: &Value, _: &Turn<'_>) -> Result<String, ToolError> {
        Err(ToolError::broken("it broke"))
    }
}
