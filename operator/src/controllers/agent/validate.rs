//! Inputs → a validated agent with its document, or everything that stands in the way. Pure.

use std::sync::Arc;

use agent_pod_config::{DOCUMENT_BYTES_MAX, Document, Problem, ProblemKind, Resources, compile};
use astromesh_crds::v1alpha1::{Agent, Persistence, Reason, RuntimeSpec};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use super::dereference::Inputs;
use crate::names;
use crate::pods::Target;
use crate::trust::{TrustBundle, TrustState};

/// What shapes an agent's pods, and is not in its document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodsSpec {
    /// How they run.
    pub runtime: RuntimeSpec,
    /// What they keep on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Whether there shall be none.
    #[serde(default)]
    pub suspend: bool,
}

impl PodsSpec {
    /// What an agent's spec says of its pods.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        Self {
            runtime: agent.spec.runtime.clone(),
            persistence: agent.spec.memory.as_ref().and_then(|memory| memory.persistence.clone()),
            suspend: agent.spec.suspend,
        }
    }

    /// How many pods there shall be.
    #[must_use]
    pub fn replicas_wanted(&self) -> i32 {
        if self.suspend { 0 } else { self.runtime.replicas }
    }
}

/// An agent that can be built.
#[derive(Clone, Debug)]
pub struct Validated {
    /// Whose children are built. Of its spec nothing is looked at but what is in `pods` and `document`.
    pub resource: Arc<Agent>,
    /// What shapes its pods.
    pub pods: PodsSpec,
    /// The image of its pods.
    pub image: String,
    /// What its pods shall serve.
    pub document: Document,
    /// The same as text.
    pub document_text: String,
    /// SHA-256 of the text.
    pub revision: String,
    /// Whom its pods trust.
    pub trust: Arc<TrustBundle>,
}

impl Validated {
    /// An agent with its document.
    #[must_use]
    pub fn new(
        resource: Arc<Agent>,
        pods: PodsSpec,
        document: Document,
        trust: Arc<TrustBundle>,
        default_image: &str,
    ) -> Self {
        Self {
            image: pods.runtime.image.clone().unwrap_or_else(|| default_image.to_owned()),
            revision: document.revision(),
            document_text: String::from_utf8_lossy(&document.to_bytes()).into_owned(),
            resource,
            pods,
            document,
            trust,
        }
    }

    /// How many pods there shall be.
    #[must_use]
    pub fn replicas_wanted(&self) -> i32 {
        self.pods.replicas_wanted()
    }

    /// What a pod must report before it counts as up to date.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { revision: self.revision.clone(), trust: self.trust.revision.clone() }
    }
}

/// What stands in the way; the last good children go on serving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The spec is invalid by itself.
    pub invalid: Option<String>,
    /// A reference does not resolve.
    pub unresolved: Option<(Reason, String)>,
    /// Valid, and cannot be carried out.
    pub unfit: Option<(Reason, String)>,
    /// The operator lacks a permission that it needs to judge: the newest spec has not been acted on.
    pub denied: Option<String>,
}

/// Compiles the agent's document.
///
/// # Errors
/// A [`Refusal`] with every problem.
pub fn validate(inputs: &Inputs, default_image: &str) -> Result<Validated, Refusal> {
    if let Some(message) = &inputs.unreadable {
        return Err(Refusal { denied: Some(message.clone()), ..Refusal::default() });
    }
    let agent = &inputs.agent;
    let providers: Vec<_> = inputs.providers.iter().map(Arc::as_ref).collect();
    let peers: Vec<_> = inputs.peers.iter().map(Arc::as_ref).collect();
    let Inputs { namespaces, config_maps, .. } = inputs;
    let resources = Resources { agents: &[agent], providers: &providers, peers: &peers, namespaces, config_maps };
    let compilation = compile(resources);
    let mut refusal = refusal_of(&compilation.problems);
    if let Some(why) = names::invalid_agent_name(&agent.name_any()) {
        let name = format!("metadata.name: {why}");
        refusal.invalid = Some(refusal.invalid.map_or_else(|| name.clone(), |others| format!("{name}; {others}")));
    }
    if refusal != Refusal::default() {
        return Err(refusal);
    }
    let bytes = compilation.document.to_bytes();
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let message = format!(
            "the document has more than {DOCUMENT_BYTES_MAX} bytes, which is what a ConfigMap holds; shorten the prompts"
        );
        return Err(Refusal { unfit: Some((Reason::DocumentTooLarge, message)), ..Refusal::default() });
    }
    let trust = match &inputs.trust {
        TrustState::Known(trust) => Arc::clone(trust),
        TrustState::Unknown => {
            return Err(denied("the cluster's keys for service-account tokens are not known yet".into()));
        }
        TrustState::Denied(message) => return Err(denied(message.clone())),
    };
    Ok(Validated::new(Arc::clone(agent), PodsSpec::of(agent), compilation.document, trust, default_image))
}

fn denied(message: String) -> Refusal {
    Refusal { denied: Some(message), ..Refusal::default() }
}

fn refusal_of(problems: &[Problem]) -> Refusal {
    let mut refusal = Refusal::default();
    let texts = |kind| {
        let texts: Vec<_> = problems.iter().filter(|problem| problem.kind == kind).map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    };
    refusal.invalid = texts(ProblemKind::Invalid);
    // Each sort has its reason; the first one that occurs is told.
    let sorts = [
        (ProblemKind::ProviderNotFound, Reason::ProviderNotFound),
        (ProblemKind::ConfigMapNotFound, Reason::ConfigMapNotFound),
        (ProblemKind::RefNotPermitted, Reason::RefNotPermitted),
        (ProblemKind::ProviderInvalid, Reason::ProviderNotAccepted),
        (ProblemKind::AgentNotFound, Reason::AgentNotFound),
        (ProblemKind::ReferenceCycle, Reason::ReferenceCycle),
    ];
    refusal.unresolved = sorts.into_iter().find_map(|(kind, reason)| Some((reason, texts(kind)?)));
    refusal
}
