//! Providers and models: what of them outlives a reload, and the routers over them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_config::{
    CandidateDocument, CircuitBreakerDocument, Document, ModelDocument, ParametersDocument, PriceDocument,
    ProviderDocument, ProviderModelDocument, RateLimitDocument, RejectedProblem, SecretKey,
};
use agent_pod_core::model::breaker::BreakerSettings;
use agent_pod_core::model::rate::RateSettings;
use agent_pod_core::model::retry::RetrySettings;
use agent_pod_core::model::router::{Candidate, Facts, ModelState, ProviderLoad, Router, RouterSettings, Timeouts};
use agent_pod_core::model::strategy::{Capabilities, Strategy};
use agent_pod_core::model::{Model, Parameters};
use agent_pod_core::money::{Price, PriceError};
use agent_pod_infra::http::TlsSettings;
use agent_pod_infra::model::chat_completions::{ChatCompletions, Dialect};
use agent_pod_infra::model::ollama::Ollama;
use agent_pod_infra::model::server::{AuthScheme, AuthSettings, ServerSettings, ServerSettingsError};
use agent_pod_infra::secret::{SecretId, SecretStore};
use astromesh_crds::v1alpha1 as crd;

use super::problem;
use crate::discovery::EndpointHealth;

/// What outlives reloads: connections, states of models, rotations.
pub(super) struct Models {
    secrets: SecretStore,
    servers: Servers,
    rotations: Rotations,
}

/// Where the rotation over a role's candidates stands, by the agent's `namespace/name` and the role.
pub(super) type Rotations = HashMap<(String, String), Arc<AtomicUsize>>;

/// The servers of a document's providers, by their key in it.
pub(super) type Servers = HashMap<String, Server>;

/// A provider's server.
#[derive(Clone)]
pub(super) struct Server {
    document: ProviderDocument,
    pub(super) adapter: Arc<dyn Model>,
    pub(super) health: Arc<EndpointHealth>,
    load: Arc<ProviderLoad>,
    states: States,
}

/// What is known of a server's models, by their names.
type States = Arc<Mutex<HashMap<String, Arc<ModelState>>>>;

/// What routers are built within.
pub(super) struct Within<'a> {
    pub(super) document: &'a Document,
    pub(super) servers: &'a Servers,
    /// `namespace/name` of the agent.
    pub(super) agent: &'a str,
}

impl Models {
    pub(super) fn new(secrets: SecretStore) -> Self {
        Self { secrets, servers: HashMap::new(), rotations: Rotations::new() }
    }

    /// One server per provider; those whose way to be called is unchanged go on, with their open connections.
    pub(super) fn servers(&self, document: &Document, problems: &mut Vec<RejectedProblem>) -> Servers {
        let mut servers = HashMap::new();
        for (key, provider) in &document.providers {
            let load = || {
                let requests_max = usize::try_from(provider.max_concurrent_requests).unwrap_or(usize::MAX);
                Arc::new(ProviderLoad::new(requests_max, rate(provider.rate_limit.as_ref())))
            };
            if let Some(known) = self.servers.get(key)
                && same_server(&known.document, provider)
            {
                let same_load = known.document.rate_limit == provider.rate_limit
                    && known.document.max_concurrent_requests == provider.max_concurrent_requests;
                let load = if same_load { Arc::clone(&known.load) } else { load() };
                // What is known of its models is shared, which models there are is not.
                let states = Arc::new(Mutex::new(lock(&known.states).clone()));
                servers.insert(key.clone(), Server { document: provider.clone(), load, states, ..known.clone() });
                continue;
            }
            match self.adapter(provider) {
                Ok(adapter) => {
                    let (document, health) = (provider.clone(), Arc::default());
                    servers.insert(
                        key.clone(),
                        Server { document, adapter, health, load: load(), states: States::default() },
                    );
                }
                Err(error) => problems.push(problem(format!("providers.{key}.{}", error.field()), error.to_string())),
            }
        }
        servers
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
        let handle = |key: &SecretKey| self.secrets.handle(&SecretId { name: key.name.clone(), key: key.key.clone() });
        ServerSettings {
            endpoint: provider.endpoint.clone(),
            auth: provider.auth.as_ref().and_then(|auth| {
                let scheme = match auth.scheme {
                    crd::AuthScheme::Bearer => AuthScheme::Bearer,
                    crd::AuthScheme::Header => AuthScheme::Header(auth.header.clone().unwrap_or_default()),
                    crd::AuthScheme::None => return None,
                };
                Some(AuthSettings { scheme, secret: handle(&auth.secret) })
            }),
            headers: provider.headers.clone().into_iter().collect(),
            tls: provider.tls.as_ref().map(|tls| TlsSettings {
                ca: tls.ca.as_ref().map(handle),
                insecure_skip_verify: tls.insecure_skip_verify,
            }),
            connect_timeout: Duration::from_millis(provider.timeouts.connect_ms),
        }
    }

    /// The router of a role.
    #[expect(clippy::too_many_arguments, reason = "what a role is, where it stands, and what it leaves behind")]
    pub(super) fn router(
        &self,
        role: &str,
        model: &ModelDocument,
        path: &str,
        within: &Within<'_>,
        rotations: &mut Rotations,
    ) -> Result<Router, RejectedProblem> {
        let mut candidates = Vec::new();
        for (index, candidate) in model.candidates.iter().enumerate() {
            let path = format!("{path}.candidates[{index}]");
            candidates.push(Self::candidate(candidate, &path, within)?);
        }
        let key = (within.agent.to_owned(), role.to_owned());
        let rotation = self.rotations.get(&key).cloned().unwrap_or_default();
        rotations.insert(key, Arc::clone(&rotation));
        Ok(Router::new(RouterSettings {
            role: role.to_owned(),
            strategy: strategy(model.strategy),
            requires: capabilities(&model.requires),
            candidates,
            rotation,
        }))
    }

    fn candidate(candidate: &CandidateDocument, path: &str, within: &Within<'_>) -> Result<Candidate, RejectedProblem> {
        let missing = || {
            let message = format!("provider `{}` is not in the document or cannot be built", candidate.provider);
            problem(format!("{path}.provider"), message)
        };
        let provider = within.document.providers.get(&candidate.provider).ok_or_else(missing)?;
        let server = within.servers.get(&candidate.provider).ok_or_else(missing)?;
        let facts = facts(provider, provider.models.get(&candidate.model)).map_err(|error| {
            problem(format!("providers.{}.models.{}.price", candidate.provider, candidate.model), error.to_string())
        })?;
        Ok(Candidate {
            provider: provider.name.clone(),
            namespace: provider.namespace.clone(),
            model: candidate.model.clone(),
            parameters: parameters(&candidate.parameters),
            timeouts: Timeouts {
                first_token: Duration::from_millis(provider.timeouts.first_token_ms),
                stall: Duration::from_millis(provider.timeouts.stall_ms),
                total: Duration::from_millis(provider.timeouts.total_ms),
            },
            retry: RetrySettings {
                attempts_max: provider.retry.max_attempts,
                budget_percent: provider.retry.budget_percent,
            },
            facts,
            port: Arc::clone(&server.adapter),
            state: state(server, &candidate.model),
            load: Arc::clone(&server.load),
        })
    }

    /// From now on these serve: forgets what only their predecessors needed.
    pub(super) fn take_over(&mut self, servers: Servers, rotations: Rotations, models: &BTreeSet<(String, String)>) {
        for (key, server) in &servers {
            let mut states = lock(&server.states);
            states.retain(|model, _| models.contains(&(key.clone(), model.clone())));
            states.values().for_each(|state| state.breaker.configure(breaker(server)));
        }
        self.servers = servers;
        self.rotations = rotations;
    }
}

/// What is known of a server's model, one for all who call it.
fn state(server: &Server, model: &str) -> Arc<ModelState> {
    let mut states = lock(&server.states);
    let state = states.entry(model.to_owned()).or_insert_with(|| Arc::new(ModelState::new(breaker(server))));
    Arc::clone(state)
}

fn breaker(server: &Server) -> BreakerSettings {
    let CircuitBreakerDocument { failure_threshold, cooldown_ms } = server.document.circuit_breaker;
    BreakerSettings { failures_max: failure_threshold, cooldown: Duration::from_millis(cooldown_ms) }
}

fn lock(states: &States) -> MutexGuard<'_, HashMap<String, Arc<ModelState>>> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether both are called in the same way. A server that is called in another way is another one: nothing is known of it.
fn same_server(a: &ProviderDocument, b: &ProviderDocument) -> bool {
    a.provider_type == b.provider_type
        && a.endpoint == b.endpoint
        && a.auth == b.auth
        && a.headers == b.headers
        && a.tls == b.tls
        && a.timeouts.connect_ms == b.timeouts.connect_ms
}

fn rate(document: Option<&RateLimitDocument>) -> RateSettings {
    document.map_or_else(RateSettings::default, |limit| RateSettings {
        requests_per_minute: limit.requests_per_minute,
        tokens_per_minute: limit.tokens_per_minute,
    })
}

/// What is known of a model. Where nothing is said it is taken to ask for tools, and a server of one's own to be free.
fn facts(provider: &ProviderDocument, model: Option<&ProviderModelDocument>) -> Result<Facts, PriceError> {
    let self_hosted = match provider.provider_type {
        crd::ProviderType::OpenaiCompat => false,
        crd::ProviderType::Vllm
        | crd::ProviderType::Llamacpp
        | crd::ProviderType::HfTgi
        | crd::ProviderType::Ollama => true,
    };
    let said = model.and_then(|model| model.price.as_ref()).map(price).transpose()?;
    Ok(Facts {
        capabilities: model
            .and_then(|model| model.capabilities.as_deref())
            .map_or_else(|| Capabilities { tools: true, ..Capabilities::default() }, capabilities),
        context_window: model.and_then(|model| model.context_window),
        quality: model.and_then(|model| model.quality),
        price: said.or_else(|| self_hosted.then(Price::default)),
    })
}

fn price(document: &PriceDocument) -> Result<Price, PriceError> {
    let PriceDocument { input_per_million, output_per_million, cached_input_per_million } = document;
    Price::parse(input_per_million, output_per_million, cached_input_per_million.as_deref())
}

fn capabilities(named: &[crd::Capability]) -> Capabilities {
    Capabilities {
        tools: named.contains(&crd::Capability::Tools),
        vision: named.contains(&crd::Capability::Vision),
        json_schema: named.contains(&crd::Capability::JsonSchema),
    }
}

fn strategy(named: crd::Strategy) -> Strategy {
    match named {
        crd::Strategy::CostOptimized => Strategy::CostOptimized,
        crd::Strategy::LatencyOptimized => Strategy::LatencyOptimized,
        crd::Strategy::QualityFirst => Strategy::QualityFirst,
        crd::Strategy::RoundRobin => Strategy::RoundRobin,
        crd::Strategy::CapabilityMatch => Strategy::CapabilityMatch,
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
