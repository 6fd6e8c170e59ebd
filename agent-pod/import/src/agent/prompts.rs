//! What the model is told.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::section::Section;

/// What an agent without a prompt is told.
const NO_PROMPT: &str = "You are a helpful assistant.";

pub(super) fn convert(spec: &mut Section<'_>) -> Value {
    let mut made = Map::new();
    if let Some(mut prompts) = spec.section("prompts") {
        for key in ["system", "context"] {
            if let Some(text) = prompts.text(key).filter(|text| !text.is_empty()) {
                made.insert(key.into(), text.into());
            }
        }
        let templates = prompts.section("templates").map(templates).unwrap_or_default();
        if !templates.is_empty() {
            made.insert("templates".into(), Value::Object(templates));
        }
    }
    if !made.contains_key("system") {
        spec.remark("prompts.system", format!("is missing, and an Agent needs one: it says `{NO_PROMPT}` now"));
        made.insert("system".into(), NO_PROMPT.into());
    }
    Value::Object(made)
}

fn templates(mut section: Section<'_>) -> Map<String, Value> {
    let mut made = Map::new();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for key in section.keys() {
        let Some(text) = section.text(&key) else { continue };
        let mut name: String = key
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .collect();
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || ["system", "context"].contains(&name.as_str()) {
            name.insert_str(0, "t_");
        }
        let clean = name.clone();
        while made.contains_key(&name) {
            let number = numbers.entry(clean.clone()).or_insert(1);
            *number += 1;
            name = format!("{clean}_{number}");
        }
        if name != key {
            section.remark(&key, format!("is called `{name}` now"));
        }
        made.insert(name, text.into());
    }
    made
}
