//! Resources → document: the pure function that operator and standalone mode share.

mod agent;
mod budget;
mod consent;
mod guardrail;
mod memory;
mod model;
mod peers;
mod problems;
mod prompts;
mod provider;
mod tools;
mod withdraw;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use astromesh_crds::v1alpha1::{Agent, DurationString, Provider};
use kube::ResourceExt as _;

pub use self::peers::agents_of;

use self::peers::Peers;
use self::problems::Problems;
use crate::document::Document;

pub use prompts::{ConfigMapTexts, ConfigMaps};
pub use withdraw::withdraw;

/// The namespace of an object that names none: a folder's manifests often do not.
const DEFAULT_NAMESPACE: &str = "default";

/// What the name of every child of an Agent ends with: its Service's and its service account's too.
pub const AGENT_SUFFIX: &str = "-agent";

/// The most problems of all agents.
const PROBLEMS_MAX: usize = 1_000;

/// What a document is made of. The order of the lists has no meaning.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'a> {
    /// The agents that the document shall serve.
    pub agents: &'a [&'a Agent],
    /// The providers that they may name; those that nobody names are left out.
    pub providers: &'a [&'a Provider],
    /// Agents that are served elsewhere and that these may call, with all that those may call in turn.
    pub peers: &'a [&'a Agent],
    /// The labels of namespaces, as far as they are known: some providers let only certain ones use them.
    pub namespaces: &'a NamespaceLabels,
    /// The ConfigMaps that agents name, as far as they exist.
    pub config_maps: &'a ConfigMaps,
}

/// The labels of namespaces, by name.
pub type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

/// What every namespace is labelled with: its own name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The document, and what could not go into it.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// Every agent without a problem, and the providers that these use.
    pub document: Document,
    /// The problems, sorted; an agent with one is not in the document.
    pub problems: Vec<Problem>,
    /// How many more problems there are: agents have 20 each, and all together 1,000.
    pub more: usize,
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
    /// A ConfigMap does not exist, or has no such text.
    ConfigMapNotFound,
    /// A Provider exists and is itself invalid.
    ProviderInvalid,
    /// A Provider or an Agent exists and may not be used from here.
    RefNotPermitted,
    /// An Agent that is named as a tool does not exist.
    AgentNotFound,
    /// Agents call each other in a circle, and may not.
    ReferenceCycle,
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

    let peers = Peers::of(resources);
    let Resources { namespaces, config_maps, .. } = resources;
    let lookup = Lookup { providers: &providers, namespaces, peers: &peers, config_maps };

    let mut document = Document::empty();
    let mut problems = Problems::at_most(PROBLEMS_MAX);
    problems.extend(duplicate_providers(resources.providers));
    for agent in agents {
        if let Some(other) = document.agents.get(&agent.name_any()) {
            problems.push(duplicate(agent, &other.namespace));
            continue;
        }
        match agent::compile(agent, &lookup) {
            Ok((compiled, used)) => {
                document.agents.insert(agent.name_any(), compiled);
                document.providers.extend(used);
            }
            Err(found) => problems.add(found),
        }
    }
    let (problems, more) = problems.sorted();
    Compilation { document, problems, more }
}

/// Why no agent can use a provider, if so.
#[must_use]
pub fn provider_problem(provider: &Provider) -> Option<String> {
    provider::compile_provider(provider).err()
}

/// Whether agents of `namespace` may use a provider.
#[must_use]
pub fn permits(provider: &Provider, namespace: &str, labels: &NamespaceLabels) -> bool {
    self::namespace(provider) == namespace || consent::refusal(provider, namespace, labels).is_none()
}

/// What references are resolved with.
struct Lookup<'a> {
    /// By their key in the document.
    providers: &'a BTreeMap<String, &'a Provider>,
    namespaces: &'a NamespaceLabels,
    peers: &'a Peers<'a>,
    config_maps: &'a ConfigMaps,
}

/// The key of a provider in the document.
fn provider_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn namespace(object: &impl kube::Resource) -> String {
    object.meta().namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

/// A cluster cannot hold two; the files of a folder can, and then nobody knows which one is meant.
fn duplicate_providers(providers: &[&Provider]) -> impl Iterator<Item = Problem> {
    let mut seen = BTreeSet::new();
    let twins = providers.iter().filter(move |provider| !seen.insert((namespace(**provider), provider.name_any())));
    twins.map(|provider| Problem {
        object: ObjectId { kind: "Provider", namespace: namespace(*provider), name: provider.name_any() },
        path: "metadata.name".into(),
        message: "there are two providers of this name in one namespace; rename or remove one".into(),
        kind: ProblemKind::Invalid,
    })
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

fn millis(text: &DurationString) -> Option<u64> {
    text.get().and_then(|duration| u64::try_from(duration.as_millis()).ok())
}

fn bad_duration(text: &DurationString) -> String {
    format!("`{}` is not a duration; write for example 30s or 5m", text.0)
}
