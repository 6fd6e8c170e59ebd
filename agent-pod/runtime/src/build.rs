//! Document → agents: one exhaustive match per choice, every problem with its path.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use agent_pod_config::{
    AccessDocument, AgentDocument, CandidateDocument, Document, ParametersDocument, ProviderDocument, RejectedProblem,
};
use agent_pod_core::access::{AccessPolicy, AllowedCaller};
use agent_pod_core::agent::{Agent, AgentMemory};
use agent_pod_core::memory::{ConversationSettings, ConversationStore};
use agent_pod_core::model::router::{Candidate, Health, Router, Timeouts};
use agent_pod_core::model::{Model, Parameters};
use agent_pod_core::pattern::Pattern;
use agent_pod_core::ports::{Environment, RunObserver};
use agent_pod_core::prompt::Prompt;
use agent_pod_core::service::{AgentDetails, AgentHandle, AgentSummary};
use agent_pod_core::tool::ToolSet;
use agent_pod_infra::http::TlsSettings;
use agent_pod_infra::model::chat_completions::{ChatCompletions, Dialect};
use agent_pod_infra::model::ollama::Ollama;
use agent_pod_infra::model::server::{AuthScheme, AuthSettings, ServerSettings, ServerSettingsError};
use agent_pod_infra::secret::{SecretId, SecretStore};
use astromesh_crds::v1alpha1 as crd;

use crate::registry::{Entry, ModelEntry, Snapshot};
use crate::runtime::Mode;

/// Builds snapshots, and keeps what outlives them: stores, connections of unchanged providers, health, counts.
pub struct Builder {
    mode: Mode,
    secrets: SecretStore,
    conversations: Arc<dyn ConversationStore>,
    environment: Arc<dyn Environment>,
    observer: Arc<dyn RunObserver>,
    adapters: Adapters,
    health: HashMap<(String, String), Arc<Health>>,
    in_flight: HashMap<String, Arc<AtomicU32>>,
}

/// The adapters of a document's providers, by their key in it.
type Adapters = HashMap<String, (ProviderDocument, Arc<dyn Model>)>;

/// What an agent is built within.
struct Within<'a> {
    document: &'a Document,
    adapters: &'a Adapters,
    revision: &'a str,
}

/// A document's agents, built beside those that serve; nothing has changed until [`Builder::take_over`].
pub struct Built {
    /// What would serve.
    pub snapshot: Snapshot,
    /// What cannot be built, by path: `agents.<name>…`, `providers.<key>…`. An agent with a problem is not in the snapshot.
    pub problems: Vec<RejectedProblem>,
    adapters: Adapters,
}

/// The ports that a builder gives to its agents.
pub struct Ports {
    /// Where secrets come from.
    pub secrets: SecretStore,
    /// Where conversations are kept.
    pub conversations: Arc<dyn ConversationStore>,
    /// Clock and ids.
    pub environment: Arc<dyn Environment>,
    /// Told of every run that ends.
    pub observer: Arc<dyn RunObserver>,
}

impl Builder {
    /// A builder over these ports.
    #[must_use]
    pub fn new(mode: Mode, ports: Ports) -> Self {
        Self {
            mode,
            secrets: ports.secrets,
            conversations: ports.conversations,
            environment: ports.environment,
            observer: ports.observer,
            adapters: HashMap::new(),
            health: HashMap::new(),
            in_flight: HashMap::new(),
        }
    }

    /// Builds every agent of the document that can be built.
    pub fn build(&mut self, document: &Document) -> Built {
        let mut problems = Vec::new();
        let mut entries = BTreeMap::new();
        let mut models: BTreeMap<(String, String), ModelEntry> = BTreeMap::new();
        let revision = document.revision();
        let adapters = self.adapters(document, &mut problems);
        for (name, agent) in &document.agents {
            let within = Within { document, adapters: &adapters, revision: &revision };
            match self.entry(name, agent, &within) {
                Ok(entry) => {
                    for candidate in entry.agent.router.candidates() {
                        let key = (format!("{}/{}", candidate.namespace, candidate.provider), candidate.model.clone());
                        models.entry(key).or_insert_with(|| model_entry(candidate));
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
            drain_timeout: longest(|agent| agent.limits.drain_timeout_ms),
            endpoint_delay: longest(|agent| agent.limits.endpoint_delay_ms),
        };
        Built { snapshot, problems, adapters }
    }

    /// From now on this serves: forgets what only its predecessor needed.
    pub fn take_over(&mut self, built: Built) -> Snapshot {
        let Built { snapshot, adapters, problems: _ } = built;
        self.adapters = adapters;
        let models: BTreeSet<_> =
            snapshot.models.iter().map(|m| (format!("{}/{}", m.namespace, m.provider), m.model.clone())).collect();
        self.health.retain(|key, _| models.contains(key));
        // A run that outlives its agent holds its own count.
        let agents: BTreeSet<_> = snapshot.entries.values().map(|entry| counter_key(&entry.agent)).collect();
        self.in_flight.retain(|key, _| agents.contains(key));
        snapshot
    }

    /// One adapter per provider; those of unchanged providers go on, with their open connections.
    fn adapters(&self, document: &Document, problems: &mut Vec<RejectedProblem>) -> Adapters {
        let mut adapters = HashMap::new();
        for (key, provider) in &document.providers {
            if let Some((known, adapter)) = self.adapters.get(key)
                && known == provider
            {
                adapters.insert(key.clone(), (provider.clone(), Arc::clone(adapter)));
                continue;
            }
            match self.adapter(provider) {
                Ok(adapter) => {
                    adapters.insert(key.clone(), (provider.clone(), adapter));
                }
                Err(error) => problems.push(problem(format!("providers.{key}.{}", error.field()), error.to_string())),
            }
        }
        adapters
    }

    fn adapter(&self, provider: &ProviderDocument) -> Result<Arc<dyn Model>, ServerSettingsError> {
        let settings = self.settings(provider);
        let dialect = match provider.provider_type {
            crd::ProviderType::Ollama => return Ok(Arc::new(Ollama::new(&settings)?)),
            crd::ProviderType::OpenaiCompat => Dialect::OpenAiCompat,
            crd::ProviderType::Vllm => Dialect::Vllm,
            crd::ProviderType::Llamacpp => Dialect::LlamaCpp,
            crd::ProviderType::HfTgi => Dialect::HfTgi,
        };
        Ok(Arc::new(ChatCompletions::new(dialect, &settings)?))
    }

    fn settings(&self, provider: &ProviderDocument) -> ServerSettings {
        ServerSettings {
            endpoint: provider.endpoint.clone(),
            auth: provider.auth.as_ref().and_then(|auth| {
                let id = SecretId { name: auth.secret.name.clone(), key: auth.secret.key.clone() };
                let scheme = match auth.scheme {
                    crd::AuthScheme::Bearer => AuthScheme::Bearer,
                    crd::AuthScheme::Header => AuthScheme::Header(auth.header.clone().unwrap_or_default()),
                    crd::AuthScheme::None => return None,
                };
                Some(AuthSettings { scheme, secret: self.secrets.handle(&id) })
            }),
            headers: provider.headers.clone().into_iter().collect(),
            tls: provider.tls.as_ref().map(|tls| TlsSettings {
                ca: tls
                    .ca
                    .as_ref()
                    .map(|ca| self.secrets.handle(&SecretId { name: ca.name.clone(), key: ca.key.clone() })),
                insecure_skip_verify: tls.insecure_skip_verify,
            }),
            connect_timeout: Duration::from_millis(provider.timeouts.connect_ms),
        }
    }

    fn entry(&mut self, name: &str, agent: &AgentDocument, within: &Within<'_>) -> Result<Entry, RejectedProblem> {
        let path = format!("agents.{name}");
        let system = Prompt::compile(&agent.prompts.system)
            .map_err(|error| problem(format!("{path}.prompts.system"), error.to_string()))?;
        let mut candidates = Vec::new();
        for (index, candidate) in agent.model.candidates.iter().enumerate() {
            let path = format!("{path}.model.candidates[{index}].provider");
            candidates.push(self.candidate(candidate, within).ok_or_else(|| {
                problem(path, format!("provider `{}` is not in the document or cannot be built", candidate.provider))
            })?);
        }
        let orchestration = &agent.orchestration;
        let built = Agent {
            name: name.to_owned(),
            namespace: agent.namespace.clone(),
            display_name: agent.identity.display_name.clone(),
            description: agent.identity.description.clone(),
            system,
            router: Router::new(candidates),
            tools: ToolSet::default(),
            pattern: match orchestration.pattern {
                crd::Pattern::React => Pattern::React { iterations_max: orchestration.max_iterations },
            },
            timeout: Duration::from_millis(orchestration.timeout_ms),
            memory: self.memory(agent),
            environment: Arc::clone(&self.environment),
            observer: Arc::clone(&self.observer),
        };
        let counter = self.in_flight.entry(counter_key(&built)).or_default();
        Ok(Entry {
            handle: Arc::new(AgentHandle {
                openai: agent.expose.openai,
                details: details(&built, within.revision, agent.suspended),
                access: access(agent.access.as_ref(), &agent.namespace, self.mode),
                body_bytes_max: usize::try_from(agent.limits.max_body_bytes).unwrap_or(usize::MAX),
            }),
            runs_max: agent.limits.max_concurrent_runs,
            suspended: agent.suspended,
            in_flight: Arc::clone(counter),
            agent: Arc::new(built),
        })
    }

    fn candidate(&mut self, candidate: &CandidateDocument, within: &Within<'_>) -> Option<Candidate> {
        let provider = within.document.providers.get(&candidate.provider)?;
        let (_, adapter) = within.adapters.get(&candidate.provider)?;
        let health = self.health.entry((candidate.provider.clone(), candidate.model.clone())).or_default();
        Some(Candidate {
            provider: provider.name.clone(),
            namespace: provider.namespace.clone(),
            model: candidate.model.clone(),
            parameters: parameters(&candidate.parameters),
            timeouts: Timeouts {
                first_token: Duration::from_millis(provider.timeouts.first_token_ms),
                stall: Duration::from_millis(provider.timeouts.stall_ms),
                total: Duration::from_millis(provider.timeouts.total_ms),
            },
            port: Arc::clone(adapter),
            health: Arc::clone(health),
        })
    }

    fn memory(&self, agent: &AgentDocument) -> Option<AgentMemory> {
        let conversational = &agent.memory.as_ref()?.conversational;
        let store = match conversational.backend {
            crd::ConversationalBackend::InMemory => Arc::clone(&self.conversations),
        };
        let turns_max = match conversational.strategy {
            crd::MemoryStrategy::SlidingWindow => usize::try_from(conversational.max_turns).unwrap_or(usize::MAX),
        };
        let settings = ConversationSettings { turns_max, ttl: Duration::from_millis(conversational.ttl_ms) };
        Some(AgentMemory { store, settings })
    }
}

fn counter_key(agent: &Agent) -> String {
    format!("{}/{}", agent.namespace, agent.name)
}

fn problem(path: String, message: String) -> RejectedProblem {
    RejectedProblem { file: None, path, message }
}

fn model_entry(candidate: &Candidate) -> ModelEntry {
    ModelEntry {
        provider: candidate.provider.clone(),
        namespace: candidate.namespace.clone(),
        model: candidate.model.clone(),
        health: Arc::clone(&candidate.health),
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
        models: agent.router.candidates().iter().map(|c| format!("{}/{}", c.provider, c.model)).collect(),
        tools: agent.tools.specs().into_iter().map(|tool| tool.name).collect(),
        roles: vec!["default".to_owned()],
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

fn parameters(document: &ParametersDocument) -> Parameters {
    Parameters {
        temperature: document.temperature,
        top_p: document.top_p,
        max_tokens: document.max_tokens,
        stop: document.stop.clone(),
        seed: document.seed,
        extra: document.extra.clone().into_iter().collect(),
    }
}
