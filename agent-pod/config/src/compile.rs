//! Resources → document: the pure function that operator and standalone mode share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use astromesh_crds::v1alpha1::{
    Access, AccessMode, Agent, AuthScheme, Candidate, DurationString, Parameters, Provider, Strategy,
};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::document::{
    AccessDocument, AgentDocument, AuthDocument, CallerDocument, CandidateDocument, CircuitBreakerDocument,
    ConversationalDocument, Document, ExposeDocument, IdentityDocument, LimitsDocument, MemoryDocument, ModelDocument,
    OrchestrationDocument, ParametersDocument, PromptsDocument, ProviderDocument, RetryDocument, SecretKey,
    TimeoutsDocument,
};

/// The default waits of a model call.
const CONNECT_MS: u64 = 5_000;
const FIRST_TOKEN_MS: u64 = 30_000;
const STALL_MS: u64 = 30_000;
const TOTAL_MS: u64 = 120_000;

/// How long a run waits for a place by default.
const QUEUE_TIMEOUT_MS: u64 = 5_000;

/// What a request says by itself: the vendor's own parameters must not change which model is asked what.
const OWN_KEYS: [&str; 5] = ["model", "messages", "stream", "stream_options", "tools"];

/// The namespace of an object that names none: a folder's manifests often do not.
const DEFAULT_NAMESPACE: &str = "default";

/// What a document is made of. The order of the lists has no meaning.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'a> {
    /// The agents that the document shall serve.
    pub agents: &'a [&'a Agent],
    /// The providers that they may name; those that nobody names are left out.
    pub providers: &'a [&'a Provider],
}

/// The document, and what could not go into it.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// Every agent without a problem, and the providers that these use.
    pub document: Document,
    /// Every problem, sorted; an agent with one is not in the document.
    pub problems: Vec<Problem>,
}

/// Which object a problem is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// `Agent` or `Provider`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Why an agent cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object that must change.
    pub object: ObjectId,
    /// Path of the field in it.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// What sort of problem it is.
    pub kind: ProblemKind,
}

/// The sorts of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// A field is invalid.
    Invalid,
    /// A Provider does not exist.
    ProviderNotFound,
    /// A Provider exists and is itself invalid.
    ProviderInvalid,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Compiles resources into the document that a pod serves.
///
/// Pure and deterministic: the result depends on the resources only, not on their order, and equal resources give
/// equal bytes. An agent with a problem is left out, so that one bad manifest does not take the others down.
#[must_use]
pub fn compile(resources: Resources<'_>) -> Compilation {
    let providers: BTreeMap<String, &Provider> =
        resources.providers.iter().map(|p| (provider_key(&namespace(*p), &p.name_any()), *p)).collect();
    let mut agents: Vec<&Agent> = resources.agents.to_vec();
    agents.sort_by_key(|agent| (agent.name_any(), namespace(*agent)));

    let mut document = Document::empty();
    let mut problems = duplicate_providers(resources.providers);
    for agent in agents {
        if let Some(other) = document.agents.get(&agent.name_any()) {
            problems.push(duplicate(agent, &other.namespace));
            continue;
        }
        match compile_agent(agent, &providers) {
            Ok((compiled, used)) => {
                document.agents.insert(agent.name_any(), compiled);
                document.providers.extend(used);
            }
            Err(found) => problems.extend(found),
        }
    }
    problems.sort();
    problems.dedup();
    Compilation { document, problems }
}

/// The key of a provider in the document.
fn provider_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn namespace(object: &impl kube::Resource) -> String {
    object.meta().namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

/// A cluster cannot hold two; the files of a folder can, and then nobody knows which one is meant.
fn duplicate_providers(providers: &[&Provider]) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let twins = providers.iter().filter(|provider| !seen.insert((namespace(**provider), provider.name_any())));
    twins
        .map(|provider| Problem {
            object: ObjectId { kind: "Provider", namespace: namespace(*provider), name: provider.name_any() },
            path: "metadata.name".into(),
            message: "there are two providers of this name in one namespace; rename or remove one".into(),
            kind: ProblemKind::Invalid,
        })
        .collect()
}

fn duplicate(agent: &Agent, other: &str) -> Problem {
    Problem {
        object: agent_id(agent),
        path: "metadata.name".into(),
        message: format!(
            "namespace `{other}` has an agent of this name too; callers know agents by name, so rename one of them"
        ),
        kind: ProblemKind::Invalid,
    }
}

fn agent_id(agent: &Agent) -> ObjectId {
    ObjectId { kind: "Agent", namespace: namespace(agent), name: agent.name_any() }
}

type Used = BTreeMap<String, ProviderDocument>;

fn compile_agent(
    agent: &Agent,
    providers: &BTreeMap<String, &Provider>,
) -> Result<(AgentDocument, Used), Vec<Problem>> {
    let id = agent_id(agent);
    let mut problems = Vec::new();
    let mut used = Used::new();
    let mut candidates = Vec::new();
    for (index, candidate) in agent.spec.model.candidates.iter().enumerate() {
        let path = format!("spec.model.candidates[{index}]");
        match compile_candidate(candidate, &path, &id, providers) {
            Ok((compiled, provider)) => {
                used.insert(compiled.provider.clone(), provider);
                candidates.push(compiled);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut milliseconds = |path: &str, text: &DurationString| {
        millis(text).unwrap_or_else(|| {
            problems.push(Problem {
                object: id.clone(),
                path: path.into(),
                message: bad_duration(text),
                kind: ProblemKind::Invalid,
            });
            0
        })
    };
    let spec = &agent.spec;
    let compiled = AgentDocument {
        namespace: id.namespace.clone(),
        identity: spec.identity.as_ref().map_or_else(IdentityDocument::default, |identity| IdentityDocument {
            display_name: identity.display_name.clone(),
            description: identity.description.clone(),
        }),
        model: ModelDocument { strategy: Strategy::default(), candidates, requires: Vec::new() },
        roles: BTreeMap::new(),
        prompts: PromptsDocument { system: spec.prompts.system.clone() },
        orchestration: OrchestrationDocument {
            pattern: spec.orchestration.pattern,
            max_iterations: spec.orchestration.max_iterations,
            timeout_ms: milliseconds("spec.orchestration.timeout", &spec.orchestration.timeout),
        },
        memory: spec.memory.as_ref().map(|memory| MemoryDocument {
            conversational: ConversationalDocument {
                backend: memory.conversational.backend,
                strategy: memory.conversational.strategy,
                max_turns: memory.conversational.max_turns,
                ttl_ms: milliseconds("spec.memory.conversational.ttl", &memory.conversational.ttl),
            },
        }),
        access: spec.access.as_ref().map(|access| compile_access(access, &id.namespace)),
        limits: LimitsDocument {
            max_concurrent_runs: spec.runtime.max_concurrent_runs,
            max_queued_runs: spec.runtime.max_concurrent_runs.saturating_mul(2),
            queue_timeout_ms: QUEUE_TIMEOUT_MS,
            max_body_bytes: spec.runtime.max_body_bytes,
            drain_timeout_ms: milliseconds("spec.runtime.drainTimeout", &spec.runtime.drain_timeout),
            endpoint_delay_ms: milliseconds("spec.runtime.endpointDelay", &spec.runtime.endpoint_delay),
        },
        expose: ExposeDocument { openai: true },
        suspended: spec.suspend,
    };
    if problems.is_empty() { Ok((compiled, used)) } else { Err(problems) }
}

fn compile_candidate(
    candidate: &Candidate,
    path: &str,
    agent: &ObjectId,
    providers: &BTreeMap<String, &Provider>,
) -> Result<(CandidateDocument, ProviderDocument), Problem> {
    let name = &candidate.provider_ref.name;
    let key = provider_key(&agent.namespace, name);
    let problem = |field: &str, message: String, kind| Problem {
        object: agent.clone(),
        path: format!("{path}.{field}"),
        message,
        kind,
    };
    let Some(provider) = providers.get(&key) else {
        let message = format!("there is no Provider `{name}` in namespace `{}`", agent.namespace);
        return Err(problem("providerRef.name", message, ProblemKind::ProviderNotFound));
    };
    let compiled = compile_provider(provider).map_err(|why| {
        problem("providerRef.name", format!("Provider `{name}` is not valid: {why}"), ProblemKind::ProviderInvalid)
    })?;
    let Some(model) = candidate.model.clone().or_else(|| provider.spec.models.first().map(|model| model.name.clone()))
    else {
        let message = format!("Provider `{name}` lists no models; name one here, or in its spec.models");
        return Err(problem("model", message, ProblemKind::Invalid));
    };
    if let Some(key) =
        candidate.parameters.iter().flat_map(|p| p.extra.keys()).find(|key| OWN_KEYS.contains(&key.as_str()))
    {
        let message = format!("`{key}` is part of every request already; extra is for the vendor's own parameters");
        return Err(problem(&format!("parameters.extra.{key}"), message, ProblemKind::Invalid));
    }
    let parameters = candidate.parameters.as_ref().map_or_else(ParametersDocument::default, compile_parameters);
    Ok((CandidateDocument { provider: key, model, parameters }, compiled))
}

/// A provider as the document holds it, or why it is not valid by itself.
///
/// The schema and its rules catch this at apply time; here it is caught once more for objects that were stored before
/// a rule existed.
fn compile_provider(provider: &Provider) -> Result<ProviderDocument, String> {
    let spec = &provider.spec;
    let timeouts = spec.timeouts.clone().unwrap_or_default();
    let wait = |text: &Option<DurationString>, default| match text {
        Some(text) => millis(text).ok_or_else(|| bad_duration(text)),
        None => Ok(default),
    };
    let auth = match &spec.auth {
        None => None,
        Some(auth) if auth.scheme == AuthScheme::None => None,
        Some(auth) => {
            let secret = auth.secret_key_ref.as_ref().ok_or("spec.auth.secretKeyRef is missing")?;
            Some(AuthDocument {
                scheme: auth.scheme,
                header: auth.header.clone(),
                secret: SecretKey { name: secret.name.clone(), key: secret.key.clone() },
            })
        }
    };
    Ok(ProviderDocument {
        name: provider.name_any(),
        namespace: namespace(provider),
        provider_type: spec.provider_type,
        endpoint: spec.endpoint.clone(),
        auth,
        headers: BTreeMap::new(),
        tls: None,
        models: BTreeMap::new(),
        circuit_breaker: CircuitBreakerDocument { failure_threshold: 3, cooldown_ms: 60_000 },
        retry: RetryDocument { max_attempts: 2, budget_percent: 20 },
        rate_limit: None,
        max_concurrent_requests: 256,
        timeouts: TimeoutsDocument {
            connect_ms: wait(&timeouts.connect, CONNECT_MS)?,
            first_token_ms: wait(&timeouts.first_token, FIRST_TOKEN_MS)?,
            stall_ms: wait(&timeouts.stall, STALL_MS)?,
            total_ms: wait(&timeouts.total, TOTAL_MS)?,
        },
    })
}

fn compile_parameters(parameters: &Parameters) -> ParametersDocument {
    ParametersDocument {
        temperature: parameters.temperature,
        top_p: parameters.top_p,
        max_tokens: parameters.max_tokens,
        stop: parameters.stop.clone(),
        seed: parameters.seed,
        extra: parameters.extra.iter().map(|(key, value)| (key.clone(), sorted(value))).collect(),
    }
}

/// The same value with the keys of every object in order: the API server sorts them, a file keeps its own order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn compile_access(access: &Access, own: &str) -> AccessDocument {
    match access.mode {
        AccessMode::None => AccessDocument::None {},
        AccessMode::ServiceAccount if access.allowed.is_empty() => AccessDocument::ServiceAccount {
            allowed: vec![CallerDocument { namespace: own.to_owned(), service_account: None }],
        },
        AccessMode::ServiceAccount => AccessDocument::ServiceAccount {
            allowed: access
                .allowed
                .iter()
                .map(|caller| CallerDocument {
                    namespace: caller.namespace.clone().unwrap_or_else(|| own.to_owned()),
                    service_account: caller.service_account.clone(),
                })
                .collect(),
        },
    }
}

fn millis(text: &DurationString) -> Option<u64> {
    text.get().and_then(|duration| u64::try_from(duration.as_millis()).ok())
}

fn bad_duration(text: &DurationString) -> String {
    format!("`{}` is not a duration; write for example 30s or 5m", text.0)
}
