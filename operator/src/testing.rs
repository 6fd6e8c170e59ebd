//! Builders and fakes for tests.

pub(crate) mod fake_api;
pub(crate) mod known;

use std::sync::Arc;

use agent_pod_config::{
    EndpointState, PodState, ProviderState, Rejected, RejectedProblem, SecretPresence, SecretState, Trust,
};
use astromesh_crds::v1alpha1::{Agent, AgentStatus, Provider};
use serde_json::{Value, json};

use crate::controllers::agent::dereference::Inputs;
use crate::controllers::agent::observe::{Observation, PodReport};
use crate::controllers::agent::validate::{Target, Validated, validate};
use crate::names::ObjectKey;
use crate::pods::PodView;
use crate::trust::TrustBundle;

/// An agent `support` in `shop`, with `spec` merged over the least one.
pub(crate) fn agent(spec: Value) -> Agent {
    let mut whole = json!({
        "model": {"candidates": [{"providerRef": {"name": "openai"}}]},
        "prompts": {"system": "You are {{ identity.displayName }}."},
    });
    if let (Some(whole), Value::Object(spec)) = (whole.as_object_mut(), spec) {
        whole.extend(spec);
    }
    serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent",
        "metadata": {"name": "support", "namespace": "shop", "uid": "a-uid", "generation": 7},
        "spec": whole,
    }))
    .unwrap()
}

/// A provider `openai` in `shop` with a credential.
pub(crate) fn provider() -> Provider {
    serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider",
        "metadata": {"name": "openai", "namespace": "shop", "uid": "p-uid", "generation": 1},
        "spec": {
            "type": "openai_compat", "endpoint": "https://api.example.com/v1", "models": [{"name": "gpt-4o-mini"}],
            "auth": {"secretKeyRef": {"name": "openai", "key": "api-key"}},
        },
    }))
    .unwrap()
}

pub(crate) fn inputs(agent: Agent, providers: &[Provider]) -> Inputs {
    let trust = Trust {
        issuer: "https://kubernetes.default.svc".into(),
        audience: Trust::AUDIENCE.into(),
        jwks: json!({"keys": []}),
        operator: "system:serviceaccount:astromesh-system:astromesh-operator".into(),
    };
    Inputs {
        key: ObjectKey::of(&agent),
        agent: Arc::new(agent),
        previous: AgentStatus::default(),
        providers: providers.iter().cloned().map(Arc::new).collect(),
        peers: Vec::new(),
        namespaces: std::collections::BTreeMap::new(),
        config_maps: std::collections::BTreeMap::new(),
        pods: Vec::new(),
        trust: Some(Arc::new(TrustBundle::new(&trust).unwrap())),
    }
}

pub(crate) fn validated(spec: Value) -> Validated {
    validate(&inputs(agent(spec), &[provider()]), "astromesh/agent-pod:1.0.0").unwrap()
}

/// What a pod of a test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// It serves the target.
    Loaded,
    /// It serves the target without a Secret's key.
    LoadedWithoutSecret,
    /// It serves another revision.
    Old,
    /// It serves another revision and refused the target.
    Refused,
    /// It serves the target, and no server answers it.
    LoadedWithoutServer,
    /// It serves the target, and its model's circuit is open.
    LoadedWithOpenCircuit,
    /// It serves the target, and leaves its tool alone.
    LoadedWithoutTool,
    /// It does not answer.
    Nothing,
}

/// An observation of pods, each ready or not.
pub(crate) fn observation(target: &Target, pods: &[(bool, Says)]) -> Observation {
    let report = |(index, (ready, says)): (usize, &(bool, Says))| PodReport {
        pod: PodView {
            name: format!("pod-{index}"),
            namespace: "shop".into(),
            uid: format!("uid-{index}"),
            address: Some("10.0.0.1".into()),
            ready: *ready,
            nudged: None,
            image_missing: false,
        },
        state: state(target, *says),
    };
    Observation { pods: pods.iter().enumerate().map(report).collect() }
}

fn state(target: &Target, says: Says) -> Option<PodState> {
    let secret = |state| vec![SecretState { secret: "openai".into(), key: "api-key".into(), state, problem: None, refused: false }];
    let loaded = PodState {
        revision: Some(target.revision.clone()),
        trust: Some(target.trust.clone()),
        secrets: secret(SecretPresence::Present),
        ..PodState::default()
    };
    let old = PodState { revision: Some("old".into()), ..loaded.clone() };
    match says {
        Says::Loaded => Some(loaded),
        Says::LoadedWithoutSecret => Some(PodState { secrets: secret(SecretPresence::Missing), ..loaded }),
        Says::Old => Some(old),
        Says::Refused => {
            let problem = RejectedProblem {
                file: None,
                path: "agents.support.prompts.system".into(),
                message: "the template is broken in line 1".into(),
            };
            let rejected = Rejected { revision: target.revision.clone(), problems: vec![problem] };
            Some(PodState { rejected: Some(rejected), ..old })
        }
        Says::LoadedWithoutServer => {
            let endpoint = EndpointState {
                name: "openai".into(),
                namespace: "shop".into(),
                reachable: Some(false),
                message: Some("connection refused".into()),
                ..EndpointState::default()
            };
            Some(PodState { endpoints: vec![endpoint], ..loaded })
        }
        Says::LoadedWithOpenCircuit => {
            let model = ProviderState {
                name: "openai".into(),
                namespace: "shop".into(),
                model: "gpt-4o-mini".into(),
                circuit: "open".into(),
                ..ProviderState::default()
            };
            Some(PodState { providers: vec![model], ..loaded })
        }
        Says::LoadedWithoutTool => {
            let tool = agent_pod_config::ToolState { name: "chart".into(), state: "unavailable".into() };
            let agent = agent_pod_config::AgentState { tools: vec![tool], ..Default::default() };
            Some(PodState { agents: vec![agent], ..loaded })
        }
        Says::Nothing => None,
    }
}
