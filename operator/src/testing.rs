//! Builders and fakes for tests.

pub(crate) mod fake_api;
pub(crate) mod known;
pub(crate) mod memory_api;

use std::sync::Arc;

use agent_pod_config::{
    EndpointState, PodState, ProviderState, Rejected, RejectedProblem, SecretPresence, SecretState, Trust,
};
use astromesh_crds::v1alpha1::{Agent, AgentStatus, Provider};
use serde_json::{Value, json};

use crate::controllers::agent::dereference::Inputs;
use crate::controllers::agent::observe::Observation;
use crate::controllers::agent::validate::{Validated, validate};
use crate::names::ObjectKey;
use crate::pods::{PodReport, PodView, SILENT_AFTER, Silence, Target};
use crate::trust::{TrustBundle, TrustState};

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

/// The token keys of a cluster with one key.
pub(crate) fn trust_bundle(kid: &str) -> TrustBundle {
    let trust = Trust {
        issuer: "https://kubernetes.default.svc".into(),
        audience: Trust::AUDIENCE.into(),
        jwks: json!({"keys": [{"kid": kid}]}),
        operator: "system:serviceaccount:astromesh-system:astromesh-operator".into(),
    };
    TrustBundle::new(&trust).unwrap()
}

pub(crate) fn inputs(agent: Agent, providers: &[Provider]) -> Inputs {
    Inputs {
        key: ObjectKey::of(&agent),
        agent: Arc::new(agent),
        previous: AgentStatus::default(),
        providers: providers.iter().cloned().map(Arc::new).collect(),
        peers: Vec::new(),
        namespaces: std::collections::BTreeMap::new(),
        config_maps: std::collections::BTreeMap::new(),
        pods: Vec::new(),
        volume: None,
        trust: TrustState::Known(Arc::new(trust_bundle("a"))),
        unreadable: None,
        unwatched: None,
        refused_just_now: false,
    }
}

pub(crate) fn validated(spec: Value) -> Validated {
    validate(&inputs(agent(spec), &[provider()]), "astromesh/agent-pod:1.0.0").unwrap()
}

/// A merge patch (RFC 7386), or an apply as far as children need it: maps that are one value are replaced, and lists of
/// ports keep what others have added.
pub(crate) fn merge(into: &mut Value, from: &Value, applied: bool) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                let whole = applied && ["selector", "nodeSelector"].contains(&key.as_str());
                match into.get_mut(key) {
                    _ if value.is_null() => {
                        into.remove(key);
                    }
                    Some(Value::Array(live)) if applied && key == "ports" && live.len() > 1 => {}
                    Some(found) if !whole => merge(found, value, applied),
                    Some(_) | None => {
                        into.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// What a pod of a test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// It serves the target.
    Loaded,
    /// It serves the target without a Secret's key.
    LoadedWithoutSecret,
    /// It serves the target, and its server refuses the credential.
    LoadedWithRefusedSecret,
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
            key: ObjectKey { namespace: "shop".into(), name: format!("pod-{index}") },
            uid: format!("uid-{index}"),
            address: Some("10.0.0.1".into()),
            ready: *ready,
            set_up_since: None,
            restarts: 0,
            nudged: None,
            trouble: None,
        },
        state: state(target, *says).map(Arc::new),
        asked: true,
        silence: (*says == Says::Nothing)
            .then(|| Silence { questions: SILENT_AFTER, why: "the pod did not answer".into() }),
        refused_since: None,
    };
    Observation { pods: pods.iter().enumerate().map(report).collect() }
}

fn state(target: &Target, says: Says) -> Option<PodState> {
    let secret = |state| {
        vec![SecretState {
            secret: "openai".into(),
            key: "api-key".into(),
            state,
            problem: None,
            former: false,
            refused: false,
        }]
    };
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
        Says::LoadedWithRefusedSecret => {
            let mut refused = loaded;
            refused.secrets[0].refused = true;
            Some(refused)
        }
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
