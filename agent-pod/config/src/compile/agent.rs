//! An Agent as the document holds it.

use std::collections::BTreeMap;

use agent_pod_schema::ALL_VALUES_MAX;
use astromesh_crds::v1alpha1::{
    Access, AccessMode, Agent, AgentSpec, Branch, DurationString, Guardrails, Orchestration, Pattern, RuntimeSpec,
    Stage,
};
use serde_json::Value;

use super::model::{Used, compile_role, sorted};
use super::problems::Problems;
use super::{Lookup, ObjectId, Problem, ProblemKind, agent_id, bad_duration, millis};
use super::{budget, memory, prompts, tools};
use crate::document::{
    AccessDocument, AgentDocument, BranchDocument, CallerDocument, ExposeDocument, GuardrailsDocument,
    IdentityDocument, LimitsDocument, ModelDocument, OrchestrationDocument, StageDocument,
};

/// The most problems of one agent.
const PROBLEMS_MAX: usize = 20;

/// The most steps of a plan, where nothing else is said.
const STEPS_MAX: u32 = 6;

/// The stages of a pipeline that names none.
const DEFAULT_STAGES: [(&str, &str); 3] = [
    ("analyze", "Analyze the question: what is asked, what is known, what has to be found out. Do not answer it yet."),
    ("process", "The question: {{ query }}\nWork out its answer from this analysis. Give every fact that it needs."),
    ("synthesize", "Write the final answer to this question from the material that you are given: {{ query }}"),
];

/// The agent and the providers that it uses, or its problems.
pub(super) fn compile(agent: &Agent, lookup: &Lookup<'_>) -> Result<(AgentDocument, Used), Problems> {
    let spec = &agent.spec;
    let mut compiler = Compiler {
        id: agent_id(agent),
        used: Used::new(),
        problems: Problems::at_most(PROBLEMS_MAX),
        schema_values: 0,
    };
    let model = compiler.role("spec.model", &spec.model, lookup);
    let roles: BTreeMap<_, _> = spec
        .roles
        .iter()
        .map(|(role, model)| (role.clone(), compiler.role(&format!("spec.roles.{role}"), model, lookup)))
        .collect();
    let compiled = AgentDocument {
        namespace: compiler.id.namespace.clone(),
        identity: identity(spec),
        model,
        roles,
        prompts: prompts::compile(&mut compiler, &spec.prompts, lookup),
        orchestration: OrchestrationDocument {
            handoffs: lookup.peers.handoffs(&mut compiler, agent),
            ..compiler.orchestration(&spec.orchestration)
        },
        tools: tools::tools(&mut compiler, spec, lookup),
        tool_limits: tools::limits(spec),
        output_schema: spec.output_schema.as_ref().map(|schema| {
            let schema = sorted(&Value::Object(schema.clone()));
            compiler.schema("spec.outputSchema", &schema);
            schema
        }),
        memory: spec.memory.as_ref().map(|memory| memory::memory(&mut compiler, memory)),
        guardrails: spec.guardrails.as_ref().map(|guardrails| compiler.guardrails(guardrails)),
        budget: spec.budget.as_ref().map(|given| budget::compile(&mut compiler, given)),
        access: spec.access.as_ref().map(|access| compile_access(access, &compiler.id.namespace)),
        limits: compiler.limits(&spec.runtime),
        expose: ExposeDocument { openai: spec.expose.openai },
        suspended: spec.suspend,
    };
    if compiler.problems.is_empty() { Ok((compiled, compiler.used)) } else { Err(compiler.problems) }
}

/// Collects the problems of one agent, in place of ending at the first.
pub(super) struct Compiler {
    pub(super) id: ObjectId,
    used: Used,
    problems: Problems,
    /// Values of all schemas so far.
    schema_values: usize,
}

impl Compiler {
    fn role(&mut self, path: &str, model: &astromesh_crds::v1alpha1::ModelSpec, lookup: &Lookup<'_>) -> ModelDocument {
        let (compiled, used, problems) = compile_role(model, path, &self.id, lookup);
        self.used.extend(used);
        self.problems.extend(problems);
        compiled
    }

    pub(super) fn millis(&mut self, path: &str, text: &DurationString) -> u64 {
        millis(text).unwrap_or_else(|| {
            self.invalid(path, bad_duration(text));
            0
        })
    }

    fn guardrails(&mut self, guardrails: &Guardrails) -> GuardrailsDocument {
        let (compiled, problems) = super::guardrail::compile(guardrails);
        self.problems.extend(problems.into_iter().map(|(path, message)| Problem {
            object: self.id.clone(),
            path,
            message,
            kind: ProblemKind::Invalid,
        }));
        compiled
    }

    /// Looks at a schema as the pod will, without compiling it.
    pub(super) fn schema(&mut self, path: &str, schema: &Value) {
        match agent_pod_schema::validate(schema) {
            Ok(values) => self.schema_values += values,
            Err(error) => self.invalid(path, error.to_string()),
        }
        if self.schema_values > ALL_VALUES_MAX {
            // Said once, where it is too much.
            self.schema_values = 0;
            let said = format!(
                "with this one, the schemas of the agent have more than {ALL_VALUES_MAX} values; make them smaller"
            );
            self.invalid(path, said);
        }
    }

    pub(super) fn invalid(&mut self, path: &str, message: String) {
        self.problem(path, message, ProblemKind::Invalid);
    }

    pub(super) fn problem(&mut self, path: &str, message: String, kind: ProblemKind) {
        let (object, path) = (self.id.clone(), path.to_owned());
        self.problems.push(Problem { object, path, message, kind });
    }

    pub(super) fn namespace(&self) -> &str {
        &self.id.namespace
    }

    /// What belongs to another pattern is left out: it shapes nothing.
    fn orchestration(&mut self, spec: &Orchestration) -> OrchestrationDocument {
        let pipeline = spec.pattern == Pattern::Pipeline;
        let fan_out = spec.pattern == Pattern::ParallelFanOut;
        let branch = |branch: &Branch| BranchDocument { role: branch.role.clone(), prompt: branch.prompt.clone() };
        OrchestrationDocument {
            pattern: spec.pattern,
            max_iterations: spec.max_iterations,
            timeout_ms: self.millis("spec.orchestration.timeout", &spec.timeout),
            stages: if pipeline { stages(&spec.stages) } else { Vec::new() },
            branches: if fan_out { spec.branches.iter().map(branch).collect() } else { Vec::new() },
            merge: fan_out.then(|| spec.merge.unwrap_or_default()),
            handoffs: None,
            max_steps: (spec.pattern == Pattern::PlanAndExecute).then(|| spec.max_steps.unwrap_or(STEPS_MAX)),
        }
    }

    fn limits(&mut self, runtime: &RuntimeSpec) -> LimitsDocument {
        LimitsDocument {
            max_concurrent_runs: runtime.max_concurrent_runs,
            max_queued_runs: runtime.max_queued_runs.unwrap_or_else(|| runtime.max_concurrent_runs.saturating_mul(2)),
            queue_timeout_ms: self.millis("spec.runtime.queueTimeout", &runtime.queue_timeout),
            max_body_bytes: runtime.max_body_bytes,
            drain_timeout_ms: self.millis("spec.runtime.drainTimeout", &runtime.drain_timeout),
            endpoint_delay_ms: self.millis("spec.runtime.endpointDelay", &runtime.endpoint_delay),
        }
    }
}

fn stages(spec: &[Stage]) -> Vec<StageDocument> {
    let stage = |name: &str, prompt: &str| StageDocument { name: name.to_owned(), prompt: prompt.to_owned() };
    if spec.is_empty() {
        DEFAULT_STAGES.iter().map(|(name, prompt)| stage(name, prompt)).collect()
    } else {
        spec.iter().map(|given| stage(&given.name, &given.prompt)).collect()
    }
}

fn identity(spec: &AgentSpec) -> IdentityDocument {
    spec.identity.as_ref().map_or_else(IdentityDocument::default, |identity| IdentityDocument {
        display_name: identity.display_name.clone(),
        description: identity.description.clone(),
    })
}

pub(super) fn compile_access(access: &Access, own: &str) -> AccessDocument {
    match access.mode {
        AccessMode::None => AccessDocument::None {},
        AccessMode::ServiceAccount if access.allowed.is_empty() => AccessDocument::ServiceAccount {
            allowed: vec![CallerDocument { namespace: own.to_owned(), service_account: None }],
        },
        AccessMode::ServiceAccount => AccessDocument::ServiceAccount {
            allowed: access
                .allowed
                .iter()
                .map(|caller| CallerDocument {
                    namespace: caller.namespace.clone().unwrap_or_else(|| own.to_owned()),
                    service_account: caller.service_account.clone(),
                })
                .collect(),
        },
    }
}
