//! Inputs → a validated agent with its document, or everything that stands in the way. Pure.

use std::sync::Arc;

use agent_pod_config::{DOCUMENT_BYTES_MAX, Document, Problem, ProblemKind, Resources, compile};
use astromesh_crds::v1alpha1::{Agent, Reason};
use kube::ResourceExt as _;

use super::dereference::Inputs;
use crate::names;
use crate::trust::TrustBundle;

/// An agent that can be built.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The agent.
    pub resource: Arc<Agent>,
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
    /// How many pods there shall be.
    #[must_use]
    pub fn replicas_wanted(&self) -> i32 {
        if self.resource.spec.suspend { 0 } else { self.resource.spec.runtime.replicas }
    }

    /// What a pod must report before it counts as up to date.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { revision: self.revision.clone(), trust: self.trust.revision.clone() }
    }
}

/// What every pod shall have loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Revision of the document.
    pub revision: String,
    /// Revision of the trust.
    pub trust: String,
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
}

/// Compiles the agent's document.
///
/// # Errors
/// A [`Refusal`] with every problem.
pub fn validate(inputs: &Inputs, default_image: &str) -> Result<Validated, Refusal> {
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
    let Some(trust) = inputs.trust.clone() else {
        let message = "the cluster's keys for service-account tokens are not readable yet";
        return Err(Refusal { unfit: Some((Reason::ApplyFailed, message.into())), ..Refusal::default() });
    };
    Ok(Validated {
        image: agent.spec.runtime.image.clone().unwrap_or_else(|| default_image.to_owned()),
        resource: Arc::clone(agent),
        revision: compilation.document.revision(),
        document_text: String::from_utf8_lossy(&bytes).into_owned(),
        document: compilation.document,
        trust,
    })
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
