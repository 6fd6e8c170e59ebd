//! Guardrails, compiled.

use agent_pod_config::{AgentDocument, CheckDocument, GuardrailDocument, RejectedProblem};
use agent_pod_core::guardrail::{Action, CheckSettings, Entity, Guardrails, Rule, RuleSettings};
use astromesh_crds::v1alpha1 as crd;

use super::problem;

/// The rules of an agent.
pub(super) fn compile(agent: &AgentDocument, path: &str) -> Result<Guardrails, RejectedProblem> {
    let Some(guardrails) = &agent.guardrails else { return Ok(Guardrails::default()) };
    let all = |direction: &str, rules: &[GuardrailDocument]| -> Result<Vec<Rule>, RejectedProblem> {
        let rules = rules.iter().enumerate();
        rules.map(|(index, document)| rule(document, &format!("{path}.guardrails.{direction}[{index}]"))).collect()
    };
    Ok(Guardrails::new(all("input", &guardrails.input)?, all("output", &guardrails.output)?))
}

fn rule(document: &GuardrailDocument, path: &str) -> Result<Rule, RejectedProblem> {
    let check = match &document.check {
        CheckDocument::PiiDetection { entities } => {
            CheckSettings::Pii(entities.iter().map(|entity| self::entity(*entity)).collect())
        }
        CheckDocument::TopicFilter { topics } => CheckSettings::Topics(topics.clone()),
        CheckDocument::MaxLength { max_chars } => {
            CheckSettings::MaxLength(usize::try_from(*max_chars).unwrap_or(usize::MAX))
        }
        CheckDocument::ContentFilter { keywords, patterns } => {
            CheckSettings::Content { keywords: keywords.clone(), patterns: patterns.clone() }
        }
        CheckDocument::CostLimit { max_tokens_per_turn } => CheckSettings::CostLimit(u64::from(*max_tokens_per_turn)),
    };
    let settings = RuleSettings {
        check,
        action: match document.action {
            crd::GuardrailAction::Redact => Action::Redact,
            crd::GuardrailAction::Block => Action::Block,
            crd::GuardrailAction::Warn => Action::Warn,
            crd::GuardrailAction::Truncate => Action::Truncate,
        },
        message: document.message.clone(),
        messages: document.scope.contains(&crd::GuardrailScope::Message),
        tool_results: document.scope.contains(&crd::GuardrailScope::ToolResults),
    };
    Rule::compile(settings).map_err(|error| problem(format!("{path}.patterns[{}]", error.index), error.message))
}

fn entity(entity: crd::PiiEntity) -> Entity {
    match entity {
        crd::PiiEntity::Email => Entity::Email,
        crd::PiiEntity::Phone => Entity::Phone,
        crd::PiiEntity::Ssn => Entity::Ssn,
        crd::PiiEntity::CreditCard => Entity::CreditCard,
        crd::PiiEntity::Iban => Entity::Iban,
        crd::PiiEntity::IpAddress => Entity::IpAddress,
    }
}
