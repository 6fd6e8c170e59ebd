//! Guardrails as the document holds them: defaults filled in, regular expressions weighed.

use astromesh_crds::v1alpha1::{Guardrail, GuardrailScope, GuardrailType, Guardrails, PiiEntity};

use crate::document::{CheckDocument, GuardrailDocument, GuardrailsDocument};
use crate::pattern::PatternBudget;

/// Characters that `max_length` lets through where it does not say how many.
const CHARACTERS_MAX: u32 = 10_000;

/// The rules, and what is wrong with them: path and message.
pub(super) fn compile(guardrails: &Guardrails) -> (GuardrailsDocument, Vec<(String, String)>) {
    let mut problems = Vec::new();
    let mut budget = PatternBudget::default();
    for (direction, rules) in [("input", &guardrails.input), ("output", &guardrails.output)] {
        for (index, rule) in rules.iter().enumerate() {
            for (place, pattern) in rule.patterns.iter().enumerate() {
                if budget.is_spent() {
                    break;
                }
                if let Err(message) = budget.take(pattern) {
                    problems.push((format!("spec.guardrails.{direction}[{index}].patterns[{place}]"), message));
                }
            }
        }
    }
    let all = |rules: &[Guardrail]| rules.iter().map(rule).collect();
    (GuardrailsDocument { input: all(&guardrails.input), output: all(&guardrails.output) }, problems)
}

fn rule(rule: &Guardrail) -> GuardrailDocument {
    let check = match rule.guardrail_type {
        GuardrailType::PiiDetection if rule.entities.is_empty() => {
            CheckDocument::PiiDetection { entities: PiiEntity::ALL.to_vec() }
        }
        GuardrailType::PiiDetection => CheckDocument::PiiDetection { entities: rule.entities.clone() },
        GuardrailType::TopicFilter => CheckDocument::TopicFilter { topics: rule.topics.clone() },
        GuardrailType::MaxLength => CheckDocument::MaxLength { max_chars: rule.max_chars.unwrap_or(CHARACTERS_MAX) },
        GuardrailType::ContentFilter => {
            CheckDocument::ContentFilter { keywords: rule.keywords.clone(), patterns: rule.patterns.clone() }
        }
        GuardrailType::CostLimit => {
            CheckDocument::CostLimit { max_tokens_per_turn: rule.max_tokens_per_turn.unwrap_or(u32::MAX) }
        }
    };
    let scope = if rule.scope.is_empty() { vec![GuardrailScope::Message] } else { rule.scope.clone() };
    let action = rule.action.unwrap_or_else(|| rule.guardrail_type.default_action());
    GuardrailDocument { check, action, message: rule.message.clone(), scope }
}
