//! Document → agents: one exhaustive match per choice, every problem with its path.

pub(crate) mod budget;
mod guardrails;
mod memory;
mod models;
mod peers;
mod prompts;
mod tools;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use agent_pod_config::{AccessDocument, AgentDocument, Document, ModelDocument, RejectedProblem};
use agent_pod_core::access::{AccessPolicy, AllowedCaller};
use agent_pod_core::admission::{Gate, GateSettings};
use agent_pod_core::agent::Agent;
use agent_pod_core::budget::Book;
use agent_pod_core::memory::ConversationStore;
use agent_pod_core::model::router::Candidate;
use agent_pod_core::output::OutputSchema;
use agent_pod_core::ports::{Environment, RunObserver};
use agent_pod_core::service::{AgentDetails, AgentHandle, AgentService, AgentSummary};
use agent_pod_infra::secret::SecretStore;

use self::memory::Memory;
use self::models::{Models, Rotations, Servers, Within};
use self::peers::Peers;
use self::tools::{KnownTools, Tools};
use crate::discovery::Endpoint;
use crate::registry::{Entry, ModelEntry, Snapshot};
use crate::runtime::Mode;
use crate::sandbox::Sandboxes;

/// The role of an agent's own model.
const DEFAULT_ROLE: &str = "default";

/// Builds snapshots, and keeps what outlives them: stores, connections of unchanged providers, what is known of models,
/// the gates of agents.
pub struct Builder {
    mode: Mode,
    memory: Memory,
    environment: Arc<dyn Environment>,
    observer: Arc<dyn RunObserver>,
    models: Models,
    tools: Tools,
    guardrails: guardrails::Compiled,
    gates: Gates,
    book: Book,
    sandboxes: Option<Sandboxes>,
}

/// The gates of agents, by their `namespace/name`.
type Gates = HashMap<String, Gate>;

/// What a document's agents bring with them. It takes the place of what serves only in [`Builder::take_over`]: building
/// changes nothing, so that a document that is refused has never been.
struct Draft {
    servers: Servers,
    rotations: Rotations,
    tools: KnownTools,
    gates: Gates,
}

/// An agent as its document describes it.
#[derive(Clone, Copy)]
struct Described<'a> {
    name: &'a str,
    /// Its `namespace/name`.
    key: &'a str,
    agent: &'a AgentDocument,
    document: &'a Document,
    /// The document's.
    revision: &'a str,
}

/// A document's agents, built beside those that serve; nothing has changed until [`Builder::take_over`].
pub struct Built {
    /// What would serve.
    pub snapshot: Snapshot,
    /// What cannot be built, by path: `agents.<name>…`, `providers.<key>…`. An agent with a problem is not in the snapshot.
    pub problems: Vec<RejectedProblem>,
    draft: Draft,
}

/// The ports that a builder gives to its agents.
pub struct Ports {
    /// Where secrets come from.
    pub secrets: SecretStore,
    /// Where conversations are kept that are kept nowhere else.
    pub conversations: Arc<dyn ConversationStore>,
    /// Clock and ids.
    pub environment: Arc<dyn Environment>,
    /// Told of every run that ends.
    pub observer: Arc<dyn RunObserver>,
    /// The agents that serve, for those that call each other.
    pub agents: Weak<dyn AgentService>,
}

impl Builder {
    /// A builder over these ports.
    #[must_use]
    pub fn new(mode: Mode, ports: Ports) -> Self {
        Self {
            mode,
            memory: Memory::new(ports.conversations, ports.secrets.clone()),
            environment: ports.environment,
            observer: ports.observer,
            tools: Tools::new(ports.secrets.clone(), Peers::new(ports.agents)),
            models: Models::new(ports.secrets),
            guardrails: guardrails::Compiled::default(),
            gates: Gates::new(),
            book: Book::default(),
            sandboxes: None,
        }
    }

    /// Agents prove to those of other pods who they are with the token in this file.
    pub fn identify_by(&mut self, token: PathBuf) {
        self.tools.peers.identify_by(token);
    }

    /// Templates that are not small work are rendered there from now on.
    pub fn render_in(&mut self, sandboxes: Sandboxes) {
        self.tools.render_in(Arc::clone(&sandboxes.tools));
        self.sandboxes = Some(sandboxes);
    }

    /// What agents keep on disk goes here from now on.
    pub fn keep_files_in(&mut self, folder: PathBuf) {
        self.memory.keep_files_in(folder);
    }

    /// Builds every agent of the document that can be built.
    pub fn build(&mut self, document: &Document) -> Built {
        let mut problems = Vec::new();
        let mut entries = BTreeMap::new();
        let mut models: BTreeMap<(String, String), ModelEntry> = BTreeMap::new();
        let revision = document.revision();
        let servers = self.models.servers(document, &mut problems);
        let mut draft = Draft { servers, rotations: Rotations::new(), tools: KnownTools::new(), gates: Gates::new() };
        for (name, agent) in &document.agents {
            let key = agent_key(&agent.namespace, name);
            let described = Described { name, key: &key, agent, document, revision: &revision };
            match self.entry(described, &mut draft) {
                Ok(entry) => {
                    for candidate in entry.agent.models.all().flat_map(|router| router.candidates()) {
                        models.entry(model_key(candidate)).or_insert_with(|| model_entry(candidate));
                    }
                    entries.insert(name.clone(), entry);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let longest = |pick: fn(&AgentDocument) -> u64| {
            Duration::from_millis(document.agents.values().map(pick).max().unwrap_or_default())
        };
        let snapshot = Snapshot {
            revision,
            loaded_at: self.environment.timestamp(),
            entries,
            models: models.into_values().collect(),
            endpoints: endpoints(document, &draft.servers),
            drain_timeout: longest(|agent| agent.limits.drain_timeout_ms),
            endpoint_delay: longest(|agent| agent.limits.endpoint_delay_ms),
        };
        Built { snapshot, problems, draft }
    }

    /// From now on this serves: forgets what only its predecessor needed.
    pub fn take_over(&mut self, built: Built) -> Snapshot {
        let Built { snapshot, problems: _, draft: Draft { servers, rotations, tools, gates } } = built;
        for entry in snapshot.entries.values() {
            entry.gate.configure(entry.gate_settings);
        }
        // A run that outlives its agent holds its own gate.
        self.gates = gates;
        self.guardrails.retain(|key| self.gates.contains_key(key));
        self.tools.take_over(tools);
        let models: BTreeSet<_> =
            snapshot.models.iter().map(|m| (format!("{}/{}", m.namespace, m.provider), m.model.clone())).collect();
        self.models.take_over(servers, rotations, &models);
        snapshot
    }

    fn entry(&mut self, described: Described<'_>, draft: &mut Draft) -> Result<Entry, RejectedProblem> {
        let Described { name, key, agent, document, revision } = described;
        let path = format!("agents.{name}");
        let prompts = prompts::compile(agent, &path)?;
        let prompts = match &self.sandboxes {
            Some(sandboxes) => prompts.in_sandbox(Arc::clone(&sandboxes.prompts)),
            None => prompts,
        };
        let guardrails = self.guardrails.of(key, agent.guardrails.as_ref(), &path)?;
        let output = agent.output_schema.as_ref().map(|schema| OutputSchema::compile("answer", schema.clone()));
        let output = output.transpose().map_err(|error| problem(format!("{path}.outputSchema"), error.to_string()))?;
        let within = Within { document, servers: &draft.servers, agent: key };
        let mut rotations = Rotations::new();
        let mut router = |role: &str, model: &ModelDocument, path: String| {
            self.models.router(role, model, &path, &within, &mut rotations)
        };
        let default = router(DEFAULT_ROLE, &agent.model, format!("{path}.model"))?;
        let mut roles = BTreeMap::new();
        for (role, model) in &agent.roles {
            roles.insert(role.clone(), router(role, model, format!("{path}.roles.{role}"))?);
        }
        let memory = agent.memory.as_ref().map(|memory| self.memory.build(memory)).transpose();
        let memory = memory.map_err(|(field, message)| problem(format!("{path}.memory.{field}"), message))?;
        let counted = agent.memory.as_ref().and_then(|said| self.memory.budgets(said));
        let budget = agent.budget.as_ref().map(|said| budget::build(key, said, &self.book, counted));
        let orchestration = &agent.orchestration;
        let tools = self.tools.made(key, agent, &path)?;
        let built = Agent {
            name: name.to_owned(),
            namespace: agent.namespace.clone(),
            display_name: agent.identity.display_name.clone(),
            description: agent.identity.description.clone(),
            prompts,
            output,
            guardrails,
            models: agent_pod_core::agent::Models { default, roles },
            tools: tools::set(agent, &tools),
            pattern: prompts::pattern(orchestration, &self.tools.peers)
                .map_err(|message| problem(format!("{path}.orchestration"), message))?,
            timeout: Duration::from_millis(orchestration.timeout_ms),
            memory,
            budget: budget.transpose().map_err(|message| problem(format!("{path}.budget.maxCost"), message))?,
            environment: Arc::clone(&self.environment),
            observer: Arc::clone(&self.observer),
        };
        let gate_settings = GateSettings {
            runs_max: agent.limits.max_concurrent_runs,
            queued_max: agent.limits.max_queued_runs,
            wait_max: Duration::from_millis(agent.limits.queue_timeout_ms),
        };
        let gate = self.gates.get(key).cloned().unwrap_or_else(|| Gate::new(gate_settings));
        draft.gates.insert(key.to_owned(), gate.clone());
        draft.rotations.extend(rotations);
        draft.tools.extend(tools.into_iter().map(|tool| ((key.to_owned(), tool.0.name.clone()), tool)));
        Ok(Entry {
            handle: Arc::new(AgentHandle {
                details: details(&built, revision, agent.suspended),
                tools: tools::summaries(&built.tools),
                access: access(agent.access.as_ref(), &agent.namespace, self.mode),
                body_bytes_max: usize::try_from(agent.limits.max_body_bytes).unwrap_or(usize::MAX),
                queue_timeout: gate_settings.wait_max,
                openai: agent.expose.openai,
            }),
            suspended: agent.suspended,
            gate,
            gate_settings,
            agent: Arc::new(built),
        })
    }
}

fn agent_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// A model, by the provider's key in the document and its name.
fn model_key(candidate: &Candidate) -> (String, String) {
    (format!("{}/{}", candidate.namespace, candidate.provider), candidate.model.clone())
}

fn endpoints(document: &Document, servers: &Servers) -> Vec<Endpoint> {
    let built = document.providers.iter().filter_map(|(key, provider)| Some((provider, servers.get(key)?)));
    built
        .map(|(provider, server)| Endpoint {
            name: provider.name.clone(),
            namespace: provider.namespace.clone(),
            adapter: Arc::clone(&server.adapter),
            health: Arc::clone(&server.health),
        })
        .collect()
}

fn problem(path: String, message: String) -> RejectedProblem {
    RejectedProblem { file: None, path, message }
}

fn model_entry(candidate: &Candidate) -> ModelEntry {
    ModelEntry {
        provider: candidate.provider.clone(),
        namespace: candidate.namespace.clone(),
        model: candidate.model.clone(),
        state: Arc::clone(&candidate.state),
    }
}

fn details(agent: &Agent, revision: &str, suspended: bool) -> AgentDetails {
    AgentDetails {
        summary: AgentSummary {
            name: agent.name.clone(),
            namespace: agent.namespace.clone(),
            display_name: agent.display_name.clone(),
            description: agent.description.clone(),
            pattern: agent.pattern.as_str(),
            revision: revision.to_owned(),
            status: if suspended { "suspended" } else { "ready" },
        },
        models: agent.models.default.candidates().iter().map(|c| format!("{}/{}", c.provider, c.model)).collect(),
        tools: agent.tools.specs().iter().map(|tool| tool.name.clone()).collect(),
        roles: std::iter::once(DEFAULT_ROLE)
            .chain(agent.models.roles.keys().map(String::as_str))
            .map(ToOwned::to_owned)
            .collect(),
    }
}

/// Who may call. An agent that says nothing is open to its own namespace in a cluster, and to its own machine outside.
fn access(document: Option<&AccessDocument>, namespace: &str, mode: Mode) -> AccessPolicy {
    match (document, mode) {
        (Some(AccessDocument::None {}), _) => AccessPolicy::Open,
        (Some(AccessDocument::ServiceAccount { allowed }), _) => AccessPolicy::ServiceAccounts(
            allowed
                .iter()
                .map(|caller| AllowedCaller {
                    namespace: caller.namespace.clone(),
                    service_account: caller.service_account.clone(),
                })
                .collect(),
        ),
        (None, Mode::Standalone) => AccessPolicy::LoopbackOnly,
        (None, Mode::Cluster) => AccessPolicy::ServiceAccounts(vec![AllowedCaller {
            namespace: namespace.to_owned(),
            service_account: None,
        }]),
    }
}
