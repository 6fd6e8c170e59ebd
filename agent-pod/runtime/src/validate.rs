//! `agent-pod validate`: every problem of manifests, without a cluster and without a network.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agent_pod_core::prompt::{CONTEXT, Prompts, SYSTEM};
use astromesh_crds::v1alpha1;

use crate::Runtime;
use crate::manifests::{self, ManifestProblem, Problems};
use crate::source::manifests::compile_manifests;

/// The field that stands for `prompts.system` where a ConfigMap holds the text.
const SYSTEM_FROM: &str = "prompts.systemFrom.configMapKeyRef";

/// The most problems that are listed.
const LISTED_MAX: usize = 1_000;

/// What was checked, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Valid agents.
    pub agents: usize,
    /// Valid providers.
    pub providers: usize,
    /// The problems, each with its file and path; the last one says how many more there are.
    pub problems: Vec<ManifestProblem>,
}

/// Checks files and folders together: schema, rules, references between them, templates.
#[must_use]
pub fn validate(paths: &[PathBuf]) -> Report {
    let mut files = Vec::new();
    let mut of_path = Vec::new();
    let mut problems = Problems::of_all();
    for path in paths {
        match manifests::list(path, |_| false) {
            Ok(found) => {
                problems.extend(found.problem(path));
                of_path.push((path.display().to_string(), found.files.clone()));
                files.extend(found.files);
            }
            Err(error) => {
                let message = format!("cannot be read: {error}");
                problems.push(ManifestProblem::of_file(&path.display().to_string(), message));
            }
        }
    }
    let read = manifests::read(&files);
    problems.extend(of_path.iter().filter_map(|(path, found)| nothing_found(path, found, &read)));
    let (document, found) = compile_manifests(&read);
    problems.add(&found);
    problems.extend(build_problems(&document, &read));
    problems.extend(template_problems(&document, &read));
    let problems = problems.first(LISTED_MAX, "all files");
    Report { agents: document.agents.len(), providers: read.providers.len(), problems }
}

/// A path without a single manifest is most likely the wrong one.
fn nothing_found(path: &str, files: &[PathBuf], read: &manifests::Manifests) -> Option<ManifestProblem> {
    let message = "no manifest was found; name a file, or a folder that has *.yaml, *.yml or *.json files in it itself";
    let empty = files.iter().all(|file| read.empty.contains(&file.display().to_string()));
    empty.then(|| ManifestProblem::of_file(path, message.to_owned()))
}

/// Broken templates of agents that are not in the document for another reason.
fn template_problems(document: &agent_pod_config::Document, read: &manifests::Manifests) -> Vec<ManifestProblem> {
    let left_out = |name: &str| !document.agents.contains_key(name);
    let agents = read.agents.iter().filter(|(_, agent)| left_out(agent.metadata.name.as_deref().unwrap_or_default()));
    agents
        .filter_map(|(file, agent)| {
            let (field, message) = template_problem(&agent.spec.prompts)?;
            Some(ManifestProblem {
                file: file.clone(),
                kind: "Agent".to_owned(),
                name: agent.metadata.name.clone().unwrap_or_default(),
                path: format!("spec.prompts.{field}"),
                message,
            })
        })
        .collect()
}

/// The field of the broken template, and what is wrong with it. All are compiled together: they include each other.
fn template_problem(prompts: &v1alpha1::Prompts) -> Option<(String, String)> {
    let system = prompts.system.iter().map(|text| (SYSTEM, text.as_str()));
    let context = prompts.context.iter().map(|text| (CONTEXT, text.as_str()));
    let templates = prompts.templates.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let (name, error) = Prompts::compile(system.chain(context).chain(templates)).err()?;
    let field = if [SYSTEM, CONTEXT].contains(&name.as_str()) { name } else { format!("templates.{name}") };
    Some((field, error.to_string()))
}

/// What only building finds, for example a broken template.
fn build_problems(document: &agent_pod_config::Document, read: &manifests::Manifests) -> Vec<ManifestProblem> {
    // Nothing is opened, and so nothing is written.
    let runtime = Runtime::standalone().keeping_files_in("unused");
    runtime.load(&document.to_bytes());
    let rejected = runtime.pod_state().rejected.unwrap_or_default();
    let places = Places::of(read);
    rejected.problems.into_iter().map(|problem| places.at_manifest(&problem.path, problem.message)).collect()
}

/// The manifests by the roots of their paths in the document.
struct Places<'a> {
    agents: BTreeMap<String, (&'a str, &'a v1alpha1::Agent)>,
    providers: BTreeMap<String, (&'a str, &'a v1alpha1::Provider)>,
}

impl<'a> Places<'a> {
    fn of(read: &'a manifests::Manifests) -> Self {
        let (mut agents, mut providers) = (BTreeMap::new(), BTreeMap::new());
        for (file, agent) in &read.agents {
            agents.entry(agent.metadata.name.clone().unwrap_or_default()).or_insert((file.as_str(), agent));
        }
        for (file, provider) in &read.providers {
            let name = provider.metadata.name.clone().unwrap_or_default();
            let namespace = provider.metadata.namespace.as_deref().unwrap_or("default");
            providers.entry(format!("{namespace}/{name}")).or_insert((file.as_str(), provider));
        }
        Self { agents, providers }
    }

    /// Leads a path in the document, `agents.support.prompts.system`, back to the manifest that it came from.
    fn at_manifest(&self, path: &str, message: String) -> ManifestProblem {
        let of_agent = path.strip_prefix("agents.").and_then(|rest| found(&self.agents, rest));
        if let Some((name, (file, agent), field)) = of_agent {
            let elsewhere = field == "prompts.system" && agent.spec.prompts.system_from.is_some();
            let path = format!("spec.{}", if elsewhere { SYSTEM_FROM } else { field });
            let (file, name) = ((*file).to_owned(), name.to_owned());
            return ManifestProblem { file, kind: "Agent".to_owned(), name, path, message };
        }
        let of_provider = path.strip_prefix("providers.").and_then(|rest| found(&self.providers, rest));
        if let Some((key, (file, _), field)) = of_provider {
            let name = key.rsplit('/').next().unwrap_or(key).to_owned();
            let (file, path) = ((*file).to_owned(), format!("spec.{field}"));
            return ManifestProblem { file, kind: "Provider".to_owned(), name, path, message };
        }
        ManifestProblem::of_file(path, message)
    }
}

/// The first part of a path that is a key, what has the key, and the rest of the path. Keys may hold dots.
fn found<'a, T>(all: &'a BTreeMap<String, T>, path: &'a str) -> Option<(&'a str, &'a T, &'a str)> {
    path.match_indices('.').find_map(|(dot, _)| {
        let (key, rest) = path.split_at_checked(dot)?;
        Some((key, all.get(key)?, rest.trim_start_matches('.')))
    })
}
