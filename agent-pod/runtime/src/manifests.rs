//! Manifests as files: reading a folder of what `kubectl apply` takes.

mod config_map;
mod problem;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agent_pod_config::ConfigMaps;
use astromesh_crds::manifest;
use astromesh_crds::v1alpha1::{Agent, Provider};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use problem::ManifestProblem;

/// The largest manifest file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The most files of a folder.
const FILES_MAX: usize = 1_000;

/// What the files hold, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Manifests {
    /// Valid agents, with their files.
    pub agents: Vec<(String, Agent)>,
    /// Valid providers, with their files.
    pub providers: Vec<(String, Provider)>,
    /// Values of `Secret` manifests, by name and key. Never printed.
    pub secrets: BTreeMap<(String, String), String>,
    /// What `ConfigMap` manifests hold.
    pub config_maps: ConfigMaps,
    /// The agents that the files declare, valid or not, with their files.
    pub declared: BTreeMap<String, String>,
    /// Files that could not be read as YAML: what they declare is unknown.
    pub unreadable: BTreeSet<String>,
    /// Files that hold nothing.
    pub empty: BTreeSet<String>,
    /// Everything that is wrong, with its file.
    pub problems: Vec<ManifestProblem>,
}

/// The manifest files of `path`: itself, or the `*.yaml`, `*.yml` and `*.json` of the folder, by name.
///
/// # Errors
/// When the folder cannot be listed or holds more than 1,000 such files.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let manifest = matches!(file.extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json"));
        if manifest && file.is_file() {
            found.push(file);
        }
        if found.len() > FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} manifests in one folder")));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads and checks every file. Whatever is valid is returned; whatever is not is reported.
#[must_use]
pub fn read(files: &[PathBuf]) -> Manifests {
    let mut manifests = Manifests::default();
    for file in files {
        let name = file.display().to_string();
        match read_file(file) {
            Ok(objects) => {
                if objects.iter().all(Value::is_null) {
                    manifests.empty.insert(name.clone());
                }
                objects.into_iter().for_each(|object| manifests.add(&name, object));
            }
            Err(message) => {
                manifests.unreadable.insert(name.clone());
                manifests.problems.push(ManifestProblem::of_file(&name, message));
            }
        }
    }
    manifests
}

fn read_file(file: &Path) -> Result<Vec<Value>, String> {
    let size = fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("is {size} bytes long; a manifest has at most {FILE_BYTES_MAX}"));
    }
    let text = fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| format!("is not valid YAML: {error}"))?;
    Ok(objects.into_iter().flat_map(flatten_list).collect())
}

/// The items of a `List`, as `kubectl get -o yaml` writes them; else the object itself.
fn flatten_list(object: Value) -> Vec<Value> {
    if object.get("kind").and_then(Value::as_str) == Some("List")
        && let Some(items) = object.get("items").and_then(Value::as_array)
    {
        return items.clone();
    }
    vec![object]
}

/// Which object of which file.
#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a str,
    kind: &'a str,
    name: &'a str,
}

impl Manifests {
    fn report(&mut self, at: At<'_>, path: &str, message: impl Into<String>) {
        self.problems.push(ManifestProblem {
            file: at.file.to_owned(),
            kind: at.kind.to_owned(),
            name: at.name.to_owned(),
            path: path.to_owned(),
            message: message.into(),
        });
    }

    fn add(&mut self, file: &str, object: Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        if object.is_null() {
            return;
        }
        let at = At { file, kind: &kind, name: &name };
        if kind.is_empty() || version.is_empty() {
            self.problems.push(ManifestProblem::of_file(file, "holds an object without apiVersion or kind".to_owned()));
        } else if (version.as_str(), kind.as_str()) == ("v1", "Secret") {
            self.add_secret(at, &object);
        } else if (version.as_str(), kind.as_str()) == ("v1", "ConfigMap") {
            self.add_config_map(at, &object);
        } else if version.split('/').next() == Some(astromesh_crds::GROUP) {
            if kind == "Agent" {
                self.declared.insert(name.clone(), file.to_owned());
            }
            self.add_resource(at, &version, object);
        }
        // Objects of other groups are somebody else's: a folder may hold a Namespace or an Ingress beside ours.
    }

    fn add_resource(&mut self, at: At<'_>, version: &str, object: Value) {
        let served = format!("{}/{}", astromesh_crds::GROUP, astromesh_crds::VERSION);
        if version != served {
            return self.report(at, "apiVersion", format!("`{version}` is not served; use {served}"));
        }
        let problems = manifest::check(&object);
        if !problems.is_empty() {
            problems.into_iter().for_each(|problem| self.report(at, &problem.path, problem.message));
            return;
        }
        let parsed = match at.kind {
            "Agent" => {
                parse(manifest::without_nulls(&object)).map(|agent| self.agents.push((at.file.to_owned(), agent)))
            }
            "Provider" => parse(manifest::without_nulls(&object))
                .map(|provider| self.providers.push((at.file.to_owned(), provider))),
            other => Err(format!("`{other}` is not a kind that this release knows")),
        };
        if let Err(message) = parsed {
            self.report(at, "", message);
        }
    }

    fn add_secret(&mut self, at: At<'_>, object: &Value) {
        let entries = |field: &str| object.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
        for (key, value) in entries("data") {
            match value.as_str().and_then(decode_base64) {
                Some(text) => {
                    self.secrets.insert((at.name.to_owned(), key), text);
                }
                None => self.report(at, &format!("data.{key}"), "is not base64; use stringData for plain text"),
            }
        }
        for (key, value) in entries("stringData") {
            match value.as_str() {
                Some(text) => {
                    self.secrets.insert((at.name.to_owned(), key), text.to_owned());
                }
                None => self.report(at, &format!("stringData.{key}"), "must be a string; put it in quotes"),
            }
        }
    }
}

fn parse<T: DeserializeOwned>(object: Value) -> Result<T, String> {
    serde_json::from_value(object).map_err(|error| error.to_string())
}

fn decode_base64(text: &str) -> Option<String> {
    use base64::Engine as _;
    let compact: String = text.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(compact).ok()?;
    String::from_utf8(bytes).ok()
}
