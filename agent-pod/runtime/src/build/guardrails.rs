//! Guardrails, compiled.

use std::collections::HashMap;

use agent_pod_config::{CheckDocument, GuardrailDocument, GuardrailsDocument, PatternBudget, RejectedProblem};
use agent_pod_core::cpu::in_place;
use agent_pod_core::guardrail::{Action, CheckSettings, Entity, Guardrails, Rule, RuleSettings};
use astromesh_crds::v1alpha1 as crd;

use super::problem;

/// The rules of agents, by their key, with what they were made of: what has not changed is not compiled again.
#[derive(Default)]
pub(super) struct Compiled(HashMap<String, (GuardrailsDocument, Guardrails)>);

impl Compiled {
    /// The rules of an agent.
    pub(super) fn of(
        &mut self,
        key: &str,
        document: Option<&GuardrailsDocument>,
        path: &str,
    ) -> Result<Guardrails, RejectedProblem> {
        let Some(document) = document else { return Ok(Guardrails::default()) };
        if let Some((_, known)) = self.0.get(key).filter(|(made_of, _)| made_of == document) {
            return Ok(known.clone());
        }
        let fresh = in_place(|| compile(document, path))?;
        self.0.insert(key.to_owned(), (document.clone(), fresh.clone()));
        Ok(fresh)
    }

    /// Forgets the rules of agents that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }
}

fn compile(guardrails: &GuardrailsDocument, path: &str) -> Result<Guardrails, RejectedProblem> {
    // All of them are weighed before the first is compiled.
    let mut budget = PatternBudget::default();
    let mut all = Vec::new();
    for (direction, rules) in [("input", &guardrails.input), ("output", &guardrails.output)] {
        for (index, document) in rules.iter().enumerate() {
            let path = format!("{path}.guardrails.{direction}[{index}]");
            if let CheckDocument::ContentFilter { patterns, .. } = &document.check {
                for (place, pattern) in patterns.iter().enumerate() {
                    let weighed = budget.take(pattern);
                    weighed.map_err(|message| problem(format!("{path}.patterns[{place}]"), message))?;
                }
            }
            all.push((document, path));
        }
    }
    let rules = all.into_iter().map(|(document, path)| rule(document, &path));
    let mut input = rules.collect::<Result<Vec<Rule>, _>>()?;
    let output = input.split_off(guardrails.input.len());
    Ok(Guardrails::new(input, output))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn filtering(patterns: &[&str]) -> GuardrailsDocument {
        let check = CheckDocument::ContentFilter {
            keywords: Vec::new(),
            patterns: patterns.iter().map(ToString::to_string).collect(),
        };
        let scope = vec![crd::GuardrailScope::Message];
        let rule = GuardrailDocument { check, action: crd::GuardrailAction::Redact, message: None, scope };
        GuardrailsDocument { input: Vec::new(), output: vec![rule] }
    }

    #[test]
    fn what_has_not_changed_is_not_compiled_again() {
        let mut compiled = Compiled::default();
        let mut of =
            |pattern: &str| compiled.of("shop/support", Some(&filtering(&[pattern])), "agents.support").unwrap();
        let first = of("one");
        assert!(first.is_same(&of("one")));
        assert!(!first.is_same(&of("another")));
    }

    #[test]
    fn what_weighs_too_much_is_refused_with_its_path() {
        let document = filtering(&[r"\w{1,256}0", r"\w{1,256}1"]);
        let refused = Compiled::default().of("shop/support", Some(&document), "agents.support").unwrap_err();
        assert_eq!(refused.path, "agents.support.guardrails.output[0].patterns[1]");
        assert!(refused.message.contains("may take 8 MiB together"), "{}", refused.message);
    }
}
