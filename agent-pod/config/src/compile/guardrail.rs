//! Guardrails as the document holds them: defaults filled in, regular expressions tried.

use astromesh_crds::v1alpha1::{Guardrail, GuardrailScope, GuardrailType, Guardrails, PiiEntity};
use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;

use crate::document::{CheckDocument, GuardrailDocument, GuardrailsDocument};

/// Characters that `max_length` lets through where it does not say how many.
const CHARACTERS_MAX: u32 = 10_000;

/// The largest compiled form of a regular expression, as in the pod.
const COMPILED_BYTES_MAX: usize = 8 << 20;

/// The rules, and what is wrong with them: path and message.
pub(super) fn compile(guardrails: &Guardrails) -> (GuardrailsDocument, Vec<(String, String)>) {
    let mut problems = Vec::new();
    for (direction, rules) in [("input", &guardrails.input), ("output", &guardrails.output)] {
        for (index, rule) in rules.iter().enumerate() {
            for (place, pattern) in rule.patterns.iter().enumerate() {
                if let Some(message) = refusal(pattern) {
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

/// What is wrong, without the picture of it.
fn in_one_line(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string().replace('\n', " "),
    }
}

/// Why a regular expression cannot be used.
fn refusal(pattern: &str) -> Option<String> {
    let parsed = regex_syntax::ParserBuilder::new().case_insensitive(true).build().parse(pattern);
    let hir = match parsed {
        Ok(hir) => hir,
        Err(error) => return Some(format!("not a regular expression: {}", in_one_line(&error))),
    };
    if hir.properties().minimum_len().unwrap_or(0) == 0 {
        return Some("the regular expression matches the empty text, and so everywhere".to_owned());
    }
    let built = Regex::builder()
        .syntax(syntax::Config::new().case_insensitive(true))
        .configure(Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX)))
        .build(pattern);
    built.err().map(|_| "the regular expression takes too much memory; make it simpler".to_owned())
}
