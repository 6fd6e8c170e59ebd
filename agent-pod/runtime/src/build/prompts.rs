//! Templates, and the pattern that uses them.

use std::sync::Arc;

use agent_pod_config::{AgentDocument, OrchestrationDocument, RejectedProblem};
use agent_pod_core::pattern::{Branch, Merge, Pattern, Stage};
use agent_pod_core::prompt::{CONTEXT, Prompts, SYSTEM};
use astromesh_crds::v1alpha1 as crd;

use super::peers::{Peers, swarm};
use super::problem;

/// Compiles every template of an agent. Names with a colon cannot be given by users, so nothing is in the way.
pub(super) fn compile(agent: &AgentDocument, path: &str) -> Result<Prompts, RejectedProblem> {
    let prompts = &agent.prompts;
    let stages = agent.orchestration.stages.iter().map(|stage| (stage_template(&stage.name), &stage.prompt));
    let branches = agent.orchestration.branches.iter().enumerate();
    let branches = branches.filter_map(|(index, branch)| Some((branch_template(index), branch.prompt.as_ref()?)));
    let context = prompts.context.iter().map(|context| (CONTEXT.to_owned(), context));
    let named = prompts.templates.iter().map(|(name, text)| (name.clone(), text));
    let all: Vec<(String, &String)> = [(SYSTEM.to_owned(), &prompts.system)]
        .into_iter()
        .chain(context)
        .chain(named)
        .chain(stages)
        .chain(branches)
        .collect();
    Prompts::compile(all.iter().map(|(name, text)| (name.as_str(), text.as_str())))
        .map_err(|(name, error)| problem(format!("{path}.{}", field(agent, &name)), error.to_string()))
}

/// The path of the field that a template comes from.
fn field(agent: &AgentDocument, name: &str) -> String {
    match name.split_once(':') {
        Some(("stage", stage)) => {
            let index = agent.orchestration.stages.iter().position(|one| one.name == stage).unwrap_or_default();
            format!("orchestration.stages[{index}].prompt")
        }
        Some((_, index)) => format!("orchestration.branches[{index}].prompt"),
        None if name == SYSTEM || name == CONTEXT => format!("prompts.{name}"),
        None => format!("prompts.templates.{name}"),
    }
}

fn stage_template(name: &str) -> String {
    format!("stage:{name}")
}

fn branch_template(index: usize) -> String {
    format!("branch:{index}")
}

/// The pattern with its settings.
pub(super) fn pattern(document: &OrchestrationDocument, peers: &Peers) -> Result<Pattern, String> {
    let iterations_max = document.max_iterations;
    Ok(match document.pattern {
        crd::Pattern::React => Pattern::React { iterations_max },
        crd::Pattern::PlanAndExecute => {
            Pattern::PlanAndExecute { iterations_max, steps_max: document.max_steps.unwrap_or(1) }
        }
        crd::Pattern::ParallelFanOut => Pattern::ParallelFanOut {
            iterations_max,
            branches: document
                .branches
                .iter()
                .enumerate()
                .map(|(index, branch)| Branch {
                    role: branch.role.clone(),
                    prompt: branch.prompt.is_some().then(|| branch_template(index)),
                })
                .collect(),
            merge: match document.merge.unwrap_or_default() {
                crd::Merge::Synthesize => Merge::Synthesize,
                crd::Merge::Vote => Merge::Vote,
                crd::Merge::First => Merge::First,
            },
        },
        crd::Pattern::Swarm => Pattern::Swarm(Arc::new(swarm(document, peers)?)),
        crd::Pattern::Supervisor => Pattern::Supervisor { iterations_max },
        crd::Pattern::Pipeline => Pattern::Pipeline {
            iterations_max,
            stages: document
                .stages
                .iter()
                .map(|stage| Stage { name: stage.name.clone(), prompt: stage_template(&stage.name) })
                .collect(),
        },
    })
}
