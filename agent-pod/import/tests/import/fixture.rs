//! The folder `tests/original`, which has every field of the original's formats, and what comes of it.

use std::path::Path;

use agent_pod_import::{Imported, InputFile, import};
use serde_json::Value;

/// The files of `tests/original`.
pub(crate) fn original() -> Vec<InputFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/original");
    let mut files = Vec::new();
    for folder in ["", "agents", "rag", "workflows"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push(InputFile { path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text });
            }
        }
    }
    files
}

/// What comes of one agent with this `spec`.
pub(crate) fn agent(spec: &str) -> Imported {
    let text = format!("kind: Agent\nmetadata: {{name: a}}\nspec:\n{spec}");
    import(&[InputFile { path: "agents/a.agent.yaml".to_owned(), text }])
}

/// The object of a kind and name.
pub(crate) fn object<'a>(imported: &'a Imported, kind: &str, name: &str) -> &'a Value {
    let found = imported.manifests.iter().find(|manifest| manifest.kind() == kind && manifest.name() == name);
    &found.unwrap_or_else(|| panic!("no {kind} `{name}`: {}", report(imported))).object
}

/// The report, a line for each remark.
pub(crate) fn report(imported: &Imported) -> String {
    imported.report.remarks().iter().map(|remark| format!("{remark}\n")).collect()
}
