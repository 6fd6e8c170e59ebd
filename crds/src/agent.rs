//! `Agent`: what a user asks for. How its pods run and what the operator reports stand in files of their own.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

mod budget;
mod guardrail;
mod memory;
mod model;
mod orchestration;
mod prompts;
mod runtime;
mod status;
mod tools;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::free_form_schema;
use crate::rules;

pub use budget::*;
pub use guardrail::*;
pub use memory::*;
pub use model::*;
pub use orchestration::*;
pub use prompts::*;
pub use runtime::*;
pub use status::*;
pub use tools::*;

/// An agent: a prompt, the models that serve it, and how it runs.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "astromesh.io",
    version = "v1alpha1",
    kind = "Agent",
    plural = "agents",
    singular = "agent",
    shortname = "ag",
    category = "astromesh",
    namespaced,
    status = "AgentStatus",
    derive = "PartialEq",
    doc = "An agent: a prompt, the models that serve it, and how it runs.",
    scale(spec_replicas_path = ".spec.runtime.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the agent serves this generation."),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.summary.status", description = "Ready, Degraded, Rollout, Stalled or Suspended."),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1, description = "Why it is ready, or not."),
    printcolumn(name = "Model", type_ = "string", json_path = ".status.models[0]", description = "Its first model."),
    printcolumn(name = "Pattern", type_ = "string", json_path = ".spec.orchestration.pattern", description = "Its orchestration pattern."),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.summary.replicas", description = "Pods that can serve, of those that there shall be."),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.summary.revision", priority = 1, description = "The revision that every ready pod serves, its first 12 digits."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since creation."),
    validation = Rule::new("size(self.metadata.name) <= 50").message("metadata.name must have at most 50 characters, because children carry it with a suffix"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must begin with a letter and hold only lower-case letters, digits and `-`, because a Service carries it"),
    validation = Rule::new("!has(self.spec.tools) || self.spec.tools.all(tool, !has(tool.agent) || has(tool.agent.agentRef.__namespace__) || tool.agent.agentRef.name != self.metadata.name)").message("tools: an agent is not its own tool; name another agent"),
)]
#[x_kube(validation = Rule::new("!has(self.memory) || !has(self.memory.conversational) || self.memory.conversational.backend != 'sqlite' || self.runtime.replicas <= 1").message("memory.conversational.backend sqlite keeps a file of one pod; with runtime.replicas over 1 use redis or postgres, or in_memory if each pod may have its own memory"))]
#[x_kube(validation = Rule::new("!has(self.memory) || !has(self.memory.episodic) || self.memory.episodic.backend != 'sqlite' || self.runtime.replicas <= 1").message("memory.episodic.backend sqlite keeps a file of one pod; with runtime.replicas over 1 use postgres"))]
#[x_kube(validation = Rule::new("!has(self.memory) || !has(self.memory.semantic) || self.memory.semantic.backend != 'embedded' || self.runtime.replicas <= 1").message("memory.semantic.backend embedded keeps a file of one pod; with runtime.replicas over 1 use pgvector"))]
#[x_kube(validation = Rule::new("!(self.orchestration.pattern in ['supervisor', 'swarm']) || (has(self.tools) && self.tools.exists(tool, tool.type == 'agent'))").message("orchestration.pattern supervisor and swarm need at least one tool of type agent; add one, or use another pattern"))]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// How the agent presents itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The models that answer: the default role.
    pub model: ModelSpec,
    /// Models for single jobs of a pattern, by role; a role that is absent uses `model`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(role, role.matches('^(planner|worker|synthesizer|summarizer|reasoner|supervisor|stage:[A-Za-z0-9_-]{1,63})$'))").message("roles must be planner, worker, synthesizer, summarizer, reasoner, supervisor, or stage: with a stage's name"))]
    pub roles: BTreeMap<String, ModelSpec>,
    /// What the model is told.
    pub prompts: Prompts,
    /// How a run proceeds.
    #[serde(default)]
    pub orchestration: Orchestration,
    /// What the agent remembers of a session; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// What questions, tool results and answers are held against; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrails: Option<Guardrails>,
    /// What the agent can do beside answering: at most 64 tools, each with a name of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tools: Vec<Tool>,
    /// Which of the tools may be used; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// JSON Schema (2020-12) of the answer's `data`: the answer is JSON, checked, and repaired once where need be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_schema")]
    pub output_schema: Option<serde_json::Map<String, serde_json::Value>>,
    /// What the agent may use in a window of time; absent: whatever its calls take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Who may call; absent: the service accounts of the agent's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Which further doors open to it.
    #[serde(default)]
    pub expose: Expose,
    /// How the agent's pods run.
    #[serde(default)]
    pub runtime: RuntimeSpec,
    /// Keep everything, scale to zero, answer nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// How the agent presents itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Name for people; `{{ identity.displayName }}` in prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// One sentence on what the agent is for; shown to callers, `{{ identity.description }}` in prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// Who may call the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'none' || !has(self.allowed) || size(self.allowed) == 0").message("access.allowed has no meaning with access.mode none; remove one of them"))]
pub struct Access {
    /// How callers prove who they are. `none` lets everybody in and must be written out.
    #[serde(default)]
    pub mode: AccessMode,
    /// The callers let in; absent or empty: every service account of the agent's own namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed: Vec<AllowedCaller>,
}

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// A service-account token of audience `astromesh`.
    #[default]
    ServiceAccount,
    /// Nobody is asked.
    None,
}

/// A caller, or all callers of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.serviceAccount) || has(self.__namespace__)").message("access.allowed needs serviceAccount, namespace, or both"))]
pub struct AllowedCaller {
    /// Name of the service account; absent: all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("access.allowed: serviceAccount"))]
    pub service_account: Option<String>,
    /// Its namespace; absent: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace("access.allowed: namespace"))]
    pub namespace: Option<String>,
}

/// Which further doors open to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// `/v1/chat/completions` and `/v1/models`, where the agent's name is the model's.
    #[serde(default = "Expose::default_openai")]
    pub openai: bool,
}

impl Expose {
    fn default_openai() -> bool {
        true
    }
}

impl Default for Expose {
    fn default() -> Self {
        Self { openai: Self::default_openai() }
    }
}
