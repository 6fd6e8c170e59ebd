//! Which document of which file is what.

use astromesh_crds::manifest::excerpt;
use serde_json::Value;

use crate::report::Report;
use crate::{InputFile, section::Section};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Agent,
    Providers,
    Channels,
    Rag,
    Runtime,
    Workflow,
    Connections,
    Template,
    Evaluation,
}

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) file: String,
    pub(crate) kind: Kind,
    pub(crate) value: Value,
}

impl Document {
    pub(crate) fn section<'r>(&'r self, report: &'r Report) -> Option<Section<'r>> {
        Section::new(report, &self.file, String::new(), self.value.clone())
    }
}

/// The documents of a file. What is no YAML, and what is of an unknown kind, is a problem.
pub(crate) fn documents(file: &InputFile, report: &Report) -> Vec<Document> {
    let said = report.len();
    // An excerpt of the file could show a key.
    let options = serde_saphyr::options! { with_snippet: false };
    let values: Vec<Value> = match serde_saphyr::from_multiple_with_options(&file.text, options) {
        Ok(values) => values,
        Err(error) => {
            let why = excerpt(&error);
            let line = error.location().filter(|_| why.ends_with('…')).map(|at| format!(" (line {})", at.line()));
            let line = line.unwrap_or_default();
            report.problem(&file.path, "", format!("is not valid YAML, nothing of it was converted: {why}{line}"));
            return Vec::new();
        }
    };
    let mut documents = Vec::new();
    for value in values.into_iter().filter(|value| !value.is_null()) {
        match kind(&file.path, &value) {
            Ok(kind) => documents.push(Document { file: file.path.clone(), kind, value }),
            Err(message) => {
                let written = value.get("kind").and_then(Value::as_str).unwrap_or_default();
                let line = line_of_kind(&file.text, written);
                report.problem(&file.path, &line, message);
            }
        }
    }
    if documents.is_empty() && report.len() == said {
        report.remark(&file.path, "", "holds nothing");
    }
    documents
}

fn line_of_kind(text: &str, kind: &str) -> String {
    let position = text.lines().position(|line| {
        line.strip_prefix("kind:")
            .is_some_and(|rest| !kind.is_empty() && rest.trim_matches([' ', '"', '\'']).starts_with(kind))
    });
    format!("line {}", position.unwrap_or_default() + 1)
}

fn kind(path: &str, value: &Value) -> Result<Kind, String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let named = |middle: &str| name.ends_with(&format!(".{middle}.yaml")) || name.ends_with(&format!(".{middle}.yml"));
    if !value.is_object() {
        return Err("must be a mapping; nothing of it was converted".to_owned());
    }
    match value.get("kind").and_then(Value::as_str) {
        Some("Agent") => return Ok(Kind::Agent),
        Some("ProviderConfig") => return Ok(Kind::Providers),
        Some("RAGPipeline") => return Ok(Kind::Rag),
        Some("RuntimeConfig") => return Ok(Kind::Runtime),
        Some("Workflow") => return Ok(Kind::Workflow),
        Some("Template" | "AgentTemplate") => return Ok(Kind::Template),
        Some(_) | None => {}
    }
    // The original looks at the names of some files, and at the kind of none of these.
    let by_name = [
        ("agent", Kind::Agent),
        ("rag", Kind::Rag),
        ("workflow", Kind::Workflow),
        ("template", Kind::Template),
        ("eval", Kind::Evaluation),
    ];
    if let Some((_, kind)) = by_name.into_iter().find(|(middle, _)| named(middle)) {
        return Ok(kind);
    }
    if let Some(kind) = value.get("kind").and_then(Value::as_str) {
        return Err(format!(
            "`{}` is not a kind of the original; known are Agent, ProviderConfig, RAGPipeline, RuntimeConfig and Workflow",
            excerpt(kind)
        ));
    }
    let by_key = [("channels", Kind::Channels), ("connections", Kind::Connections)];
    if let Some((_, kind)) = by_key.into_iter().find(|(key, _)| value.get(key).is_some()) {
        return Ok(kind);
    }
    if name.starts_with("providers") {
        return Ok(Kind::Providers);
    }
    if name.starts_with("runtime") {
        return Ok(Kind::Runtime);
    }
    Err("has no `kind`, and its name says none; nothing of it was converted".to_owned())
}
