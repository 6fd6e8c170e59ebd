//! Rules on questions and answers.

use serde_json::{Map, Value, json};

use crate::section::Section;

pub(super) fn convert(mut section: Section<'_>) -> Option<Value> {
    let mut made = Map::new();
    for direction in ["input", "output"] {
        let rules: Vec<Value> =
            section.sections(direction).into_iter().filter_map(|rule| convert_rule(rule, direction)).collect();
        if !rules.is_empty() {
            made.insert(direction.into(), Value::Array(rules));
        }
    }
    (!made.is_empty()).then_some(Value::Object(made))
}

fn convert_rule(mut rule: Section<'_>, direction: &str) -> Option<Value> {
    let kind = rule.text("type").unwrap_or_default();
    let mut made = Map::new();
    made.insert("type".into(), kind.clone().into());
    let action = rule.text("action");
    let action = match kind.as_str() {
        "topic_filter" => action.or_else(|| Some("warn".to_owned())),
        _ => action,
    };
    if let Some(action) = action {
        made.insert("action".into(), action.into());
    }
    if let Some(message) = rule.text("message").filter(|message| !message.is_empty()) {
        made.insert("message".into(), message.into());
    }
    match kind.as_str() {
        "pii_detection" => {
            made.insert("entities".into(), json!(["email", "phone", "ssn", "credit_card"]));
        }
        "topic_filter" => {
            texts(&mut rule, &mut made, &["blocked_topics", "forbidden_topics"], "topics");
        }
        "max_length" => {
            let chars = rule.integer("max_chars").or_else(|| rule.integer("max_characters"));
            made.extend(chars.map(|chars| ("maxChars".to_owned(), chars.into())));
        }
        "content_filter" => {
            texts(&mut rule, &mut made, &["blocked_patterns"], "patterns");
            texts(&mut rule, &mut made, &["forbidden_keywords"], "keywords");
        }
        "cost_limit" => {
            let tokens = rule.integer("max_tokens_per_turn");
            made.extend(tokens.map(|tokens| ("maxTokensPerTurn".to_owned(), tokens.into())));
            if rule.text("count").is_some_and(|count| count != "total") {
                rule.remark("count", "every token counts here, those of the input too; raise maxTokensPerTurn");
            }
        }
        _ => {
            rule.remark(
                "type",
                format!("`{kind}` is not a rule of the original; the {direction} is NOT held against it"),
            );
            rule.take_all();
            return None;
        }
    }
    Some(Value::Object(made))
}

/// A list under the first of its spellings that is there.
fn texts(rule: &mut Section<'_>, made: &mut Map<String, Value>, keys: &[&str], ours: &str) {
    let texts: Vec<String> = keys.iter().flat_map(|key| rule.texts(key)).collect();
    if !texts.is_empty() {
        made.insert(ours.to_owned(), json!(texts));
    }
}
