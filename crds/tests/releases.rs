//! What worked with a release goes on working: its definitions and samples are kept in `releases/<version>/`.
//!
//! At a release, copy `yaml/*.yaml` and the samples of `config/samples` into a folder of its version.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use astromesh_crds::manifest::{check, definitions};
use serde_json::Value;

fn releases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("releases");
    let releases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!releases.is_empty());
    releases
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

fn documents(file: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&fs::read_to_string(file).unwrap()).unwrap()
}

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

#[test]
fn the_samples_of_every_release_still_pass() {
    for release in releases() {
        for file in files(&release.join("samples")) {
            for object in documents(&file) {
                assert_eq!(check(&object), [], "{}", file.display());
            }
        }
    }
}

#[test]
fn no_field_of_a_release_is_gone_and_none_is_newly_required() {
    for release in releases() {
        for file in files(&release) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let now = definitions().unwrap().into_iter().find(|(file, _)| file == name).unwrap().1;
            let now: Value = serde_saphyr::from_str(&now).unwrap();
            compatible(name, schema(&documents(&file)[0]), schema(&now));
        }
    }
}

/// Every field and every choice of `then` is there now, and what is required now was so then.
fn compatible(path: &str, then: &Value, now: &Value) {
    assert_eq!(then.get("type"), now.get("type"), "{path}");
    let list = |schema: &Value, key: &str| schema.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for choice in list(then, "enum") {
        assert!(list(now, "enum").contains(&choice), "{path}: {choice} is no choice any more");
    }
    for field in list(now, "required") {
        assert!(list(then, "required").contains(&field), "{path}.{field} is newly required");
    }
    for (name, field) in then.get("properties").and_then(Value::as_object).into_iter().flatten() {
        compatible(&format!("{path}.{name}"), field, &now["properties"][name]);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(field) = then.get(inner).filter(|field| field.is_object()) {
            compatible(&format!("{path}[]"), field, &now[inner]);
        }
    }
}
