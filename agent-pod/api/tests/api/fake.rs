//! Agents that do what a test tells them, event by event.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_pod_core::access::{AccessPolicy, AllowedCaller, Caller, TokenVerifier};
use agent_pod_core::agent::{Executed, SemanticMemory, ToolRequest};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{Attempt, Finish, Measures, RunAnswer, Status, Step, TurnEvent, TurnRequest};
use agent_pod_core::memory::ConversationStore;
use agent_pod_core::memory::history::{AgentHistory, Stores};
use agent_pod_core::money::Price;
use agent_pod_core::service::{AgentDetails, AgentHandle, AgentService, AgentSummary, Run, RunOptions};
use agent_pod_core::testing::{TableMeanings, TableStore, WordEmbedder};
use agent_pod_core::tool::{Outcome, Ruling};
use agent_pod_core::usage::{Call, Tokens, Usage};
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use serde_json::json;
use tokio::sync::oneshot;

pub(crate) const BODY_BYTES_MAX: usize = 1024;

/// The runs that are asked for play the scripts in turn.
pub(crate) struct FakeAgents {
    handles: Vec<Arc<AgentHandle>>,
    scripts: Mutex<VecDeque<Script>>,
    starts: Mutex<Vec<(String, TurnRequest, RunOptions)>>,
    pub(crate) memory: Arc<TableStore>,
    pub(crate) meanings: Arc<TableMeanings>,
    pub(crate) rulings: Mutex<Vec<Ruling>>,
    /// What the calls of tools carried beside their bodies.
    pub(crate) executed: Mutex<Vec<RunOptions>>,
}

enum Script {
    Play(UnboundedReceiver<TurnEvent>, oneshot::Sender<()>),
    /// Is let in when the receiver fires.
    Queue(oneshot::Receiver<()>, oneshot::Sender<()>),
    Refuse(RunError),
    Panic,
}

/// A run that waits to be let in; the script that it then plays is the next one.
pub(crate) struct Queued {
    admit: oneshot::Sender<()>,
    dropped: oneshot::Receiver<()>,
}

impl Queued {
    pub(crate) fn admit(self) {
        self.admit.send(()).expect("the run still waits");
    }

    /// Comes when the run has left the queue without having been let in.
    pub(crate) async fn dropped(self) {
        crate::client::within(self.dropped).await.unwrap_err();
    }
}

/// The other end of a scripted run.
pub(crate) struct Control {
    events: UnboundedSender<TurnEvent>,
    dropped: oneshot::Receiver<()>,
}

impl Control {
    pub(crate) fn emit(&self, event: TurnEvent) {
        self.events.unbounded_send(event).expect("somebody listens to the run");
    }

    /// Comes when the run has been dropped.
    pub(crate) async fn dropped(self) {
        crate::client::within(self.dropped).await.unwrap_err();
    }

    /// The run ends without an answer.
    pub(crate) fn break_off(self) {
        drop(self.events);
    }
}

impl FakeAgents {
    pub(crate) fn new(handles: impl IntoIterator<Item = AgentHandle>) -> Arc<Self> {
        let handles = handles.into_iter().map(Arc::new).collect();
        Arc::new(Self {
            handles,
            scripts: Mutex::default(),
            starts: Mutex::default(),
            rulings: Mutex::default(),
            executed: Mutex::default(),
            memory: Arc::default(),
            meanings: Arc::default(),
        })
    }

    /// One open agent, `support`.
    pub(crate) fn support() -> Arc<Self> {
        Self::new([agent("support", AccessPolicy::Open)])
    }

    /// The next run plays what the control emits.
    pub(crate) fn script(&self) -> Control {
        let (events, script) = unbounded();
        let (guard, dropped) = oneshot::channel();
        self.scripts.lock().unwrap().push_back(Script::Play(script, guard));
        Control { events, dropped }
    }

    /// The next run plays these events.
    pub(crate) fn play(&self, events: impl IntoIterator<Item = TurnEvent>) {
        let control = self.script();
        events.into_iter().for_each(|event| control.emit(event));
    }

    /// The next run waits until it is let in, then it plays the script that comes next.
    pub(crate) fn queue(&self) -> Queued {
        let (admit, admitted) = oneshot::channel();
        let (guard, dropped) = oneshot::channel();
        self.scripts.lock().unwrap().push_back(Script::Queue(admitted, guard));
        Queued { admit, dropped }
    }

    /// Comes when so many runs have been asked for.
    pub(crate) async fn asked_for(&self, count: usize) {
        crate::client::within(async {
            while self.starts().len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The next run is refused.
    pub(crate) fn refuse(&self, error: RunError) {
        self.scripts.lock().unwrap().push_back(Script::Refuse(error));
    }

    /// The next run panics at its start.
    pub(crate) fn panic(&self) {
        self.scripts.lock().unwrap().push_back(Script::Panic);
    }

    pub(crate) fn starts(&self) -> Vec<(String, TurnRequest, RunOptions)> {
        self.starts.lock().unwrap().clone()
    }
}

#[async_trait]
impl AgentService for FakeAgents {
    fn agents(&self) -> Vec<Arc<AgentHandle>> {
        self.handles.clone()
    }

    fn agent(&self, name: &str) -> Option<Arc<AgentHandle>> {
        self.handles.iter().find(|handle| handle.details.summary.name == name).cloned()
    }

    async fn start(&self, agent: &str, request: TurnRequest, options: RunOptions) -> Result<Run, RunError> {
        let run_id = {
            let mut starts = self.starts.lock().unwrap();
            starts.push((agent.to_owned(), request, options));
            format!("run-{}", starts.len())
        };
        loop {
            let script = self.scripts.lock().unwrap().pop_front().expect("the test has scripted this run");
            let Script::Queue(admitted, _guard) = script else { return script.begin(run_id) };
            admitted.await.expect("the test lets the run in");
        }
    }

    fn memory(&self, agent: &str) -> Option<AgentHistory> {
        // One without a memory.
        let store = (agent != "forgetful").then(|| Arc::clone(&self.memory) as Arc<dyn ConversationStore>);
        let semantic = (agent != "forgetful").then(|| SemanticMemory {
            store: Arc::clone(&self.meanings) as _,
            embedding: WordEmbedder::new(&["dog", "cat"]).embedding(),
            top_k: 2,
            min_score: 0.5,
        });
        let stores = Stores { conversations: store, semantic, ..Stores::default() };
        self.agent(agent).map(|_| AgentHistory::new("shop", agent, stores))
    }

    async fn execute(&self, _: &str, request: ToolRequest, options: RunOptions) -> Result<Executed, RunError> {
        self.executed.lock().unwrap().push(options);
        if request.tool != "get_order" {
            return Err(RunError::new(ErrorCode::ToolNotFound, "there is no such tool"));
        }
        let outcome = Outcome { ok: true, result: request.arguments.to_string(), truncated: false };
        Ok(Executed { tool: request.tool, outcome, duration_ms: 41 })
    }

    fn agent_of_run(&self, run_id: &str) -> Option<String> {
        (run_id == "run-1").then(|| "support".to_owned())
    }

    fn decide(&self, _: &str, approval: &str, ruling: Ruling) -> Result<(), RunError> {
        self.rulings.lock().unwrap().push(ruling);
        if approval == "call_1" {
            return Ok(());
        }
        Err(RunError::new(ErrorCode::AlreadyDecided, "it is decided"))
    }

    fn verifier(&self) -> Arc<dyn TokenVerifier> {
        Arc::new(NamespaceTokens)
    }
}

impl Script {
    fn begin(self, run_id: String) -> Result<Run, RunError> {
        match self {
            Self::Play(events, guard) => {
                let events = events.map(move |event| {
                    let _run_alive = &guard;
                    event
                });
                Ok(Run { run_id, events: events.boxed(), desk: Arc::default() })
            }
            Self::Refuse(error) => Err(error),
            Self::Queue(..) => unreachable!("the queue is over"),
            Self::Panic => panic!("secret of the house"),
        }
    }
}

/// The token `ns/sa` proves the service account `sa` of the namespace `ns`.
struct NamespaceTokens;

impl TokenVerifier for NamespaceTokens {
    fn verify(&self, token: &str) -> Result<Caller, RunError> {
        let (namespace, account) =
            token.split_once('/').ok_or_else(|| RunError::new(ErrorCode::Unauthenticated, "the token is not one"))?;
        Ok(Caller { namespace: namespace.to_owned(), service_account: account.to_owned() })
    }
}

pub(crate) fn agent(name: &str, access: AccessPolicy) -> AgentHandle {
    let summary = AgentSummary {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        display_name: Some("An agent".to_owned()),
        description: Some("Helps.".to_owned()),
        pattern: "react",
        revision: "3fa9".to_owned(),
        status: "ready",
    };
    let models = vec!["openai/gpt-4o-mini".to_owned()];
    let details = AgentDetails { summary, models, tools: Vec::new(), roles: vec!["default".to_owned()] };
    AgentHandle {
        details,
        tools: Vec::new(),
        access,
        body_bytes_max: BODY_BYTES_MAX,
        queue_timeout: Duration::from_secs(5),
        openai: true,
    }
}

/// Lets in every service account of the namespace.
pub(crate) fn namespace(namespace: &str) -> AccessPolicy {
    AccessPolicy::ServiceAccounts(vec![AllowedCaller { namespace: namespace.to_owned(), service_account: None }])
}

pub(crate) fn status(session_id: &str) -> TurnEvent {
    TurnEvent::Status(Status {
        status: "processing",
        agent: "support".to_owned(),
        run_id: "run-1".to_owned(),
        session_id: session_id.to_owned(),
    })
}

pub(crate) fn token(content: &str) -> TurnEvent {
    TurnEvent::Token(content.to_owned())
}

pub(crate) fn done(text: &str) -> TurnEvent {
    TurnEvent::Done(Box::new(answer(text)))
}

/// An answer with something in every field.
pub(crate) fn answer(text: &str) -> RunAnswer {
    let mut usage = Usage::default();
    let tokens = Tokens { input: 412, output: 38, cached: 0 };
    let cost = Price::parse("0.15", "0.60", None).unwrap().of(tokens);
    usage.add(Call { provider: "openai", model: "gpt-4o-mini", role: "default", tokens, cost, estimated: false });
    RunAnswer {
        handoff: None,
        run_id: "run-1".to_owned(),
        agent: "support".to_owned(),
        session_id: "s-1".to_owned(),
        session_id_original: "s-1".to_owned(),
        answer: text.to_owned(),
        finish: Finish::Stop,
        blocked: false,
        guardrail: None,
        warnings: Vec::new(),
        steps: vec![Step {
            index: 1,
            step_type: "tool",
            agent: None,
            name: "get_order".to_owned(),
            arguments: json!({"id": 7}),
            result: "shipped".to_owned(),
            ok: true,
            duration_ms: 41,
            ..Step::default()
        }],
        usage,
        attempts: vec![attempt()],
        degraded: vec!["memory".to_owned()],
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        truncated: false,
        data: None,
        data_error: None,
        client_calls: Vec::new(),
    }
}

pub(crate) fn attempt() -> Attempt {
    Attempt {
        provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        outcome: "rate_limited",
        message: Some("the provider answered 429".to_owned()),
        duration_ms: 640,
        time_to_first_token_ms: Some(210),
        measures: Measures::default(),
    }
}
