//! What an agent's models are told, and how a run proceeds.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::prompts::PromptSource;
use crate::duration::DurationString;
use crate::rules;

/// What the model is told. Every text is a Jinja template; a missing variable renders empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.system) != has(self.systemFrom)").message("prompts needs exactly one of system and systemFrom"))]
pub struct Prompts {
    /// The system prompt, a Jinja template. A missing variable renders empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262_144))]
    pub system: Option<String>,
    /// Where the system prompt is written, in place of `system`; at most 262,144 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_from: Option<PromptSource>,
    /// Rendered for every turn and put before the user's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub context: Option<String>,
    /// Templates by name, which the others can include: `{% include 'greeting' %}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 65_536})))]
    #[x_kube(validation = Rule::new("self.all(name, name.matches('^[a-z][a-z0-9_-]{0,62}$') && name != 'system' && name != 'context')").message("prompts.templates: names begin with a letter and hold lower-case letters, digits, `-` and `_`; `system` and `context` are taken"))]
    pub templates: BTreeMap<String, String>,
}

/// How a run proceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.stages) || self.pattern == 'pipeline'").message("orchestration.stages belongs to the pattern pipeline; remove it, or set pattern: pipeline"))]
#[x_kube(validation = Rule::new("!(has(self.branches) || has(self.merge)) || self.pattern == 'parallel_fan_out'").message("orchestration.branches and merge belong to the pattern parallel_fan_out; remove them, or set pattern: parallel_fan_out"))]
#[x_kube(validation = Rule::new("!has(self.maxSteps) || self.pattern == 'plan_and_execute'").message("orchestration.maxSteps belongs to the pattern plan_and_execute; remove it, or set pattern: plan_and_execute"))]
#[x_kube(validation = Rule::new("!has(self.maxHandoffs) || self.pattern == 'swarm'").message("orchestration.maxHandoffs belongs to the pattern swarm; remove it, or set pattern: swarm"))]
pub struct Orchestration {
    /// The pattern of the run.
    #[serde(default)]
    pub pattern: Pattern,
    /// The most model calls with tools of a run, or of each of its parts; then one last call asks for the best answer.
    #[serde(default = "Orchestration::default_max_iterations")]
    #[schemars(range(min = 1, max = 100))]
    pub max_iterations: u32,
    /// The whole run, with everything that it calls.
    #[serde(default = "Orchestration::default_timeout")]
    #[x_kube(validation = rules::duration("orchestration.timeout", "100ms", "1h"))]
    pub timeout: DurationString,
    /// Whether the tool calls of one reply go on at the same time, at most 16 of them; else one after the other.
    #[serde(default = "Orchestration::default_parallel_tool_calls")]
    pub parallel_tool_calls: bool,
    /// The most tokens of a tool's result that reach the model; the rest is cut, with a marker.
    #[serde(default = "Orchestration::default_max_tool_result_tokens")]
    #[schemars(range(min = 64, max = 1_000_000))]
    pub max_tool_result_tokens: u32,
    /// The stages of a pipeline, each fed by the one before (default: analyze, process, synthesize).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub stages: Vec<Stage>,
    /// Who works at the same question, for `parallel_fan_out`; absent: a planner splits it into parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub branches: Vec<Branch>,
    /// How the answers of `parallel_fan_out` become one (default synthesize).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// The most steps that `plan_and_execute` carries out (default 6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub max_steps: Option<u32>,
    /// How often a `swarm` hands the conversation over in one turn at most (default 3); then whoever has it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub max_handoffs: Option<u32>,
}

impl Orchestration {
    fn default_max_iterations() -> u32 {
        10
    }

    fn default_timeout() -> DurationString {
        "120s".into()
    }

    fn default_parallel_tool_calls() -> bool {
        true
    }

    fn default_max_tool_result_tokens() -> u32 {
        8000
    }
}

impl Default for Orchestration {
    fn default() -> Self {
        Self {
            pattern: Pattern::default(),
            max_iterations: Self::default_max_iterations(),
            timeout: Self::default_timeout(),
            parallel_tool_calls: Self::default_parallel_tool_calls(),
            max_tool_result_tokens: Self::default_max_tool_result_tokens(),
            stages: Vec::new(),
            branches: Vec::new(),
            merge: None,
            max_steps: None,
            max_handoffs: None,
        }
    }
}

/// The orchestration patterns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Think, act, observe, until the model has its answer.
    #[default]
    React,
    /// A planner names steps, a worker carries them out in order, a synthesizer writes the answer.
    PlanAndExecute,
    /// Several work at the same time, then their answers become one.
    ParallelFanOut,
    /// Stages, each fed by the one before.
    Pipeline,
    /// A model has other agents work, sees their answers, and decides when it is done.
    Supervisor,
    /// Agents hand the conversation over to each other; whoever has it answers the user.
    Swarm,
}

/// A stage of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Its name; its models are those of the role `stage:<name>`, if there are any.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::text("orchestration.stages: name", "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')", "is not a name: begin with a letter and use lower-case letters, digits and `-`"))]
    pub name: String,
    /// What its model is told after the system prompt, a Jinja template; `{{ input }}` is what the stage before has said.
    #[schemars(length(min = 1, max = 65_536))]
    pub prompt: String,
}

/// One of several that work at the same question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    /// The role whose models it uses; roles without models of their own have the default ones.
    #[schemars(length(min = 1, max = 64))]
    pub role: String,
    /// What its model is told after the system prompt, a Jinja template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub prompt: Option<String>,
}

/// How several answers become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// A model writes one answer from all.
    #[default]
    Synthesize,
    /// The answer that most agree on; where all differ, a model chooses.
    Vote,
    /// The first answer that is there; the others are given up.
    First,
}
