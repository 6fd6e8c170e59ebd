//! Orchestration patterns: how a run gets from the question to the answer.

mod fan_out;
mod pipeline;
mod plan;
mod react;
mod swarm;
mod tool_loop;

use std::sync::Arc;

use crate::agent::Turn;
use crate::error::{ErrorCode, RunError};
use crate::event::Finish;
use crate::message::{Message, ToolCall};

pub use swarm::Swarm;

/// The patterns and their settings. `iterations_max` is the most model calls with tools of each part; one more without
/// them asks for the best answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Think, act, observe, until the model has its answer.
    React {
        /// See above.
        iterations_max: u32,
    },
    /// Plan steps, carry them out in order, put their results together.
    PlanAndExecute {
        /// See above.
        iterations_max: u32,
        /// The most steps that are carried out.
        steps_max: u32,
    },
    /// Several at the same time, then one answer.
    ParallelFanOut {
        /// See above.
        iterations_max: u32,
        /// Who works at the same question; none: a planner splits it.
        branches: Vec<Branch>,
        /// How the answers become one.
        merge: Merge,
    },
    /// Stages, each fed by the one before.
    Pipeline {
        /// See above.
        iterations_max: u32,
        /// At least one.
        stages: Vec<Stage>,
    },
    /// Agents hand the conversation over to each other.
    Swarm(Arc<Swarm>),
    /// As `react`, with models of its own: the tools are workers.
    Supervisor {
        /// See above.
        iterations_max: u32,
    },
}

/// One of several that work at the same question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The role whose models it uses.
    pub role: String,
    /// The template of its own instructions, if any.
    pub prompt: Option<String>,
}

/// One stage of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name; its models are those of the role `stage:<name>`.
    pub name: String,
    /// The template of its instructions.
    pub prompt: String,
}

/// How several answers become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Merge {
    /// A model writes one answer from all.
    #[default]
    Synthesize,
    /// The one that most agree on; where all differ, a model chooses.
    Vote,
    /// The first that is there; the others are given up.
    First,
}

/// How a pattern ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternEnd {
    /// The answer: everything that was streamed as tokens, joined.
    pub answer: String,
    /// Why it ended.
    pub finish: Finish,
    /// What was said since the question: tool calls, their results, the answer.
    pub transcript: Vec<Message>,
    /// Whether a model's token limit cut the answer off.
    pub truncated: bool,
    /// The calls of the caller's own tools with which it ended.
    pub client_calls: Vec<ToolCall>,
}

impl Pattern {
    /// The pattern's name in manifests.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::React { .. } => "react",
            Self::PlanAndExecute { .. } => "plan_and_execute",
            Self::ParallelFanOut { .. } => "parallel_fan_out",
            Self::Pipeline { .. } => "pipeline",
            Self::Supervisor { .. } => "supervisor",
            Self::Swarm(_) => "swarm",
        }
    }

    /// Runs the pattern on a conversation that begins with the system prompt and ends with the question.
    ///
    /// # Errors
    /// As the router: no candidate gave a reply.
    pub async fn execute(&self, turn: &Turn<'_>, conversation: Vec<Message>) -> Result<PatternEnd, RunError> {
        match self {
            Self::React { iterations_max } => react::run(turn, "reasoner", conversation, *iterations_max).await,
            Self::Swarm(swarm) => swarm.run(turn, conversation).await,
            Self::Supervisor { iterations_max } => react::run(turn, "supervisor", conversation, *iterations_max).await,
            Self::PlanAndExecute { iterations_max, steps_max } => {
                plan::run(turn, &conversation, *iterations_max, *steps_max).await
            }
            Self::ParallelFanOut { iterations_max, branches, merge } => {
                let fan_out = fan_out::FanOut { iterations_max: *iterations_max, branches, merge: *merge };
                fan_out.run(turn, &conversation).await
            }
            Self::Pipeline { iterations_max, stages } => {
                pipeline::run(turn, conversation, *iterations_max, stages).await
            }
        }
    }
}

/// Whether nothing else of the run can succeed after this failure of a part of it.
fn ends_the_run(error: &RunError) -> bool {
    error.code == ErrorCode::DeadlineExceeded
}
