//! An Agent as the document holds it.

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::{Access, AccessMode, Agent, AgentSpec, DurationString, Memory, RuntimeSpec};

use super::model::{Used, compile_role};
use super::{Lookup, ObjectId, Problem, ProblemKind, agent_id, bad_duration, millis};
use crate::document::{
    AccessDocument, AgentDocument, CallerDocument, ConversationalDocument, ExposeDocument, IdentityDocument,
    LimitsDocument, MemoryDocument, ModelDocument, OrchestrationDocument, PromptsDocument,
};

/// The agent and the providers that it uses, or every problem.
pub(super) fn compile(agent: &Agent, lookup: &Lookup<'_>) -> Result<(AgentDocument, Used), Vec<Problem>> {
    let spec = &agent.spec;
    let mut compiler = Compiler { id: agent_id(agent), used: Used::new(), problems: Vec::new() };
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
        prompts: PromptsDocument { system: spec.prompts.system.clone() },
        orchestration: OrchestrationDocument {
            pattern: spec.orchestration.pattern,
            max_iterations: spec.orchestration.max_iterations,
            timeout_ms: compiler.millis("spec.orchestration.timeout", &spec.orchestration.timeout),
        },
        memory: spec.memory.as_ref().map(|memory| compiler.memory(memory)),
        access: spec.access.as_ref().map(|access| compile_access(access, &compiler.id.namespace)),
        limits: compiler.limits(&spec.runtime),
        expose: ExposeDocument { openai: spec.expose.openai },
        suspended: spec.suspend,
    };
    if compiler.problems.is_empty() { Ok((compiled, compiler.used)) } else { Err(compiler.problems) }
}

/// Collects every problem of one agent, in place of ending at the first.
struct Compiler {
    id: ObjectId,
    used: Used,
    problems: Vec<Problem>,
}

impl Compiler {
    fn role(&mut self, path: &str, model: &astromesh_crds::v1alpha1::ModelSpec, lookup: &Lookup<'_>) -> ModelDocument {
        let (compiled, used, problems) = compile_role(model, path, &self.id, lookup);
        self.used.extend(used);
        self.problems.extend(problems);
        compiled
    }

    fn millis(&mut self, path: &str, text: &DurationString) -> u64 {
        millis(text).unwrap_or_else(|| {
            let object = self.id.clone();
            let (path, message) = (path.to_owned(), bad_duration(text));
            self.problems.push(Problem { object, path, message, kind: ProblemKind::Invalid });
            0
        })
    }

    fn memory(&mut self, memory: &Memory) -> MemoryDocument {
        MemoryDocument {
            conversational: ConversationalDocument {
                backend: memory.conversational.backend,
                strategy: memory.conversational.strategy,
                max_turns: memory.conversational.max_turns,
                ttl_ms: self.millis("spec.memory.conversational.ttl", &memory.conversational.ttl),
            },
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

fn identity(spec: &AgentSpec) -> IdentityDocument {
    spec.identity.as_ref().map_or_else(IdentityDocument::default, |identity| IdentityDocument {
        display_name: identity.display_name.clone(),
        description: identity.description.clone(),
    })
}

fn compile_access(access: &Access, own: &str) -> AccessDocument {
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
