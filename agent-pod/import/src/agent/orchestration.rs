//! How a run proceeds.

use serde_json::{Map, Value, json};

use crate::names;
use crate::section::Section;

pub(super) fn convert(mut section: Section<'_>) -> Option<Value> {
    let mut made = Map::new();
    let pattern = section.text("pattern").unwrap_or_else(|| "react".to_owned());
    let known = ["react", "plan_and_execute", "parallel_fan_out", "pipeline", "supervisor", "swarm"];
    if known.contains(&pattern.as_str()) {
        made.insert("pattern".into(), pattern.clone().into());
    } else if pattern == "glyph" {
        section.remark("pattern", "glyph has no counterpart; the agent is a react agent now");
    } else {
        section
            .remark("pattern", format!("`{pattern}` is not a pattern of the original; the agent is a react agent now"));
    }
    if let Some(iterations) = section.integer("max_iterations") {
        made.insert("maxIterations".into(), iterations.into());
    }
    let timeout = section.seconds("timeout_seconds").or_else(|| section.seconds("timeout"));
    if let Some(timeout) = timeout {
        made.insert("timeout".into(), timeout.into());
    }
    if let Some(tokens) = section.integer("max_tool_result_tokens") {
        made.insert("maxToolResultTokens".into(), tokens.into());
    }
    belonging(&mut section, &pattern, &mut made);
    section.refuse("max_repairs", "has no counterpart; an answer that misses its schema is repaired once");
    section.refuse("narrate", "has no counterpart; steps are streamed as events");
    (!made.is_empty()).then_some(Value::Object(made))
}

/// The fields that belong to one pattern.
fn belonging(section: &mut Section<'_>, pattern: &str, made: &mut Map<String, Value>) {
    if pattern == "pipeline" {
        let stages = stages(section);
        if !stages.is_empty() {
            made.insert("stages".into(), Value::Array(stages));
        }
    } else {
        section.refuse("stages", "belongs to the pattern pipeline; left out");
    }
    if pattern == "swarm" {
        if let Some(handoffs) = section.integer("max_handoffs") {
            made.insert("maxHandoffs".into(), handoffs.into());
        }
    } else {
        section.refuse("max_handoffs", "belongs to the pattern swarm; left out");
    }
}

fn stages(section: &mut Section<'_>) -> Vec<Value> {
    let written = section.texts("stages");
    let mut made = Vec::new();
    for (index, stage) in written.iter().enumerate() {
        let name: String = names::label(stage, "stage").chars().take(32).collect();
        let name = name.trim_end_matches('-');
        let field = format!("stages[{index}]");
        section.remark(&field, format!("the prompt of the stage `{name}` is a plain one; write what the stage does"));
        if name != stage {
            section.remark(&field, format!("is called `{name}` now"));
        }
        let prompt = format!("Carry out the stage `{name}` of the work. The stage before has said:\n{{{{ input }}}}");
        made.push(json!({"name": name, "prompt": prompt}));
    }
    made
}
