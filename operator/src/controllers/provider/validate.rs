//! Whether a Provider is valid by itself, as the compiler of documents sees it. Pure.

use agent_pod_config::{ProblemKind, Resources, SecretKey, compile};
use astromesh_crds::v1alpha1::{
    Agent, AgentSpec, AuthScheme, Candidate, ModelSpec, Orchestration, Prompts, Provider, ProviderRef, RuntimeSpec,
};
use kube::ResourceExt as _;

/// Why no agent can use the provider, if so.
#[must_use]
pub fn problem(provider: &Provider) -> Option<String> {
    let probe = probe(provider);
    let compilation = compile(Resources { agents: &[&probe], providers: &[provider] });
    let found = compilation.problems.into_iter().find(|problem| problem.kind == ProblemKind::ProviderInvalid)?;
    Some(found.message)
}

/// The Secret key that the provider needs, if any.
#[must_use]
pub fn secret(provider: &Provider) -> Option<SecretKey> {
    let auth = provider.spec.auth.as_ref().filter(|auth| auth.scheme != AuthScheme::None)?;
    let reference = auth.secret_key_ref.as_ref()?;
    Some(SecretKey { name: reference.name.clone(), key: reference.key.clone() })
}

/// The least agent that uses the provider: the compiler judges providers through their agents.
fn probe(provider: &Provider) -> Agent {
    let candidate = Candidate {
        provider_ref: ProviderRef { name: provider.name_any() },
        model: Some("any".into()),
        parameters: None,
    };
    let spec = AgentSpec {
        identity: None,
        model: ModelSpec { candidates: vec![candidate] },
        prompts: Prompts { system: "any".into() },
        orchestration: Orchestration::default(),
        memory: None,
        access: None,
        runtime: RuntimeSpec::default(),
        suspend: false,
    };
    let mut agent = Agent::new("probe", spec);
    agent.metadata.namespace = provider.namespace();
    agent
}
