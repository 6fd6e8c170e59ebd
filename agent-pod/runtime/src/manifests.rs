//! Manifests as files: reading a folder of what `kubectl apply` takes.

mod config_map;
mod file;
mod problem;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use astromesh_crds::manifest::{self, excerpt};
use astromesh_crds::v1alpha1::{Agent, Provider};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use config_map::FoundConfigMaps;
pub(crate) use file::FILE_BYTES_MAX;
pub use problem::{ManifestProblem, Problems};

/// The most files of a folder.
const FILES_MAX: usize = 1_000;

/// What the files hold, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Valid agents, with their files.
    pub agents: Vec<(String, Agent)>,
    /// Valid providers, with their files.
    pub providers: Vec<(String, Provider)>,
    /// Values of `Secret` manifests, by name and key. Never printed.
    pub secrets: BTreeMap<(String, String), String>,
    /// What `ConfigMap` manifests hold.
    pub config_maps: FoundConfigMaps,
    /// The agents that the files declare, valid or not, with their files.
    pub declared: BTreeMap<String, String>,
    /// Files that could not be read as YAML: what they declare is unknown.
    pub unreadable: BTreeSet<String>,
    /// Those of them that may be readable at the next try, though nothing has changed.
    pub passing: BTreeSet<String>,
    /// Files that hold nothing.
    pub empty: BTreeSet<String>,
    /// What is wrong, with its file.
    pub problems: Problems,
}

/// The manifest files of a folder, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those that are read.
    pub files: Vec<PathBuf>,
    /// The first that is beyond the bound, and how many are.
    pub left_out: Option<(PathBuf, usize)>,
}

impl Listing {
    /// Files that are beyond the bound, as a problem of the folder.
    #[must_use]
    pub fn problem(&self, folder: &Path) -> Option<ManifestProblem> {
        let (first, count) = self.left_out.as_ref()?;
        let message = format!(
            "holds {} manifest files, and at most {FILES_MAX} are read: {} and what comes after it by name is left out; \
             put several objects into one file, or take files away",
            count + self.files.len(),
            first.display()
        );
        Some(ManifestProblem::of_file(&folder.display().to_string(), message))
    }
}

/// The manifest files of `path`: itself, or the `*.yaml`, `*.yml` and `*.json` of the folder. Of more than 1,000 those that
/// are `known` come first, then those whose names do: one file too many takes nothing away.
///
/// # Errors
/// When the folder cannot be listed.
pub fn list(path: &Path, known: impl Fn(&Path) -> bool) -> io::Result<Listing> {
    if !path.is_dir() {
        return Ok(Listing { files: vec![path.to_owned()], left_out: None });
    }
    // Unknown ones are greater: the last of the set is the first to go.
    let mut found: BTreeSet<(bool, PathBuf)> = BTreeSet::new();
    let (mut first_out, mut out): (Option<PathBuf>, usize) = (None, 0);
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let file = entry.path();
        if !is_manifest(&file) {
            continue;
        }
        let unknown = !known(&file);
        if unknown && entry.file_type()?.is_dir() {
            continue;
        }
        found.insert((unknown, file));
        if found.len() > FILES_MAX
            && let Some((_, beyond)) = found.pop_last()
        {
            out += 1;
            first_out = Some(match first_out {
                Some(first) => first.min(beyond),
                None => beyond,
            });
        }
    }
    let mut files: Vec<PathBuf> = found.into_iter().map(|(_, file)| file).collect();
    files.sort();
    Ok(Listing { files, left_out: first_out.map(|first| (first, out)) })
}

/// Whether a file is meant to be read. Emacs keeps a dangling link `.#name` beside a file that it edits.
fn is_manifest(file: &Path) -> bool {
    let draft = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".#"));
    let named = matches!(file.extension().and_then(|extension| extension.to_str()), Some("yaml" | "yml" | "json"));
    named && !draft
}

/// Reads and checks every file. Whatever is valid is returned; whatever is not is reported.
#[must_use]
pub fn read(files: &[PathBuf]) -> Manifests {
    Manifests::merged(files.iter().map(|file| read_file(file)).collect::<Vec<_>>().iter())
}

/// Reads and checks one file.
#[must_use]
pub fn read_file(file: &Path) -> Manifests {
    let mut manifests = Manifests::default();
    let name = file.display().to_string();
    match file::objects(file) {
        Ok(objects) => {
            let objects: Vec<Value> = objects.into_iter().flat_map(flatten_list).collect();
            if objects.iter().all(Value::is_null) {
                manifests.empty.insert(name.clone());
            }
            objects.into_iter().for_each(|object| manifests.add(&name, object));
        }
        Err(file::Unread { message, passing }) => return Manifests::unread(&name, message, passing),
    }
    manifests
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

/// What an object is known by: its kind, its namespace and its name. A Secret has a name for each key.
pub(crate) type Id = (&'static str, String, String);

impl Manifests {
    /// A file that could not be read; `passing`: that may be readable at the next try.
    pub(crate) fn unread(file: &str, message: String, passing: bool) -> Self {
        let mut unread = Self {
            unreadable: BTreeSet::from([file.to_owned()]),
            passing: passing.then(|| file.to_owned()).into_iter().collect(),
            ..Self::default()
        };
        unread.problems.push(ManifestProblem::of_file(file, message));
        unread
    }

    /// What several files hold together.
    pub(crate) fn merged<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self { problems: Problems::of_all(), ..Self::default() };
        for part in parts {
            let Self { agents, providers, secrets, config_maps, declared, unreadable, passing, empty, problems } =
                part.clone();
            all.agents.extend(agents);
            all.providers.extend(providers);
            all.secrets.extend(secrets);
            all.declared.extend(declared);
            all.unreadable.extend(unreadable);
            all.passing.extend(passing);
            all.empty.extend(empty);
            all.problems.add(&problems);
            for (id, texts) in config_maps.maps {
                let file = config_maps.files.get(&id).cloned().unwrap_or_default();
                all.put_config_map(&file, id, texts);
            }
        }
        all
    }

    /// Everything that stands here, valid or not.
    pub(crate) fn ids(&self) -> BTreeSet<Id> {
        let place = |meta: &kube::core::ObjectMeta| {
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
        };
        let agents = self.declared.keys().map(|name| ("Agent", String::new(), name.clone()));
        let providers = self.providers.iter().map(|(_, provider)| {
            let (namespace, name) = place(&provider.metadata);
            ("Provider", namespace, name)
        });
        let secrets = self.secrets.keys().map(|(name, key)| ("Secret", name.clone(), key.clone()));
        let maps = self.config_maps.maps.keys().map(|(namespace, name)| ("ConfigMap", namespace.clone(), name.clone()));
        agents.chain(providers).chain(secrets).chain(maps).collect()
    }

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
            let version = excerpt(version);
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
            other => Err(format!("`{}` is not a kind that this release knows", excerpt(other))),
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
                None => {
                    self.report(at, &format!("data.{}", excerpt(&key)), "is not base64; use stringData for plain text")
                }
            }
        }
        for (key, value) in entries("stringData") {
            match value.as_str() {
                Some(text) => {
                    self.secrets.insert((at.name.to_owned(), key), text.to_owned());
                }
                None => self.report(at, &format!("stringData.{}", excerpt(&key)), "must be a string; put it in quotes"),
            }
        }
    }
}

fn parse<T: DeserializeOwned>(object: Value) -> Result<T, String> {
    serde_json::from_value(object).map_err(excerpt)
}

fn decode_base64(text: &str) -> Option<String> {
    use base64::Engine as _;
    let compact: String = text.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(compact).ok()?;
    String::from_utf8(bytes).ok()
}
