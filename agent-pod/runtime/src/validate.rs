//! `agent-pod validate`: every problem of manifests, without a cluster and without a network.

use std::path::PathBuf;

use agent_pod_core::prompt::{CONTEXT, Prompts, SYSTEM};
use astromesh_crds::v1alpha1;

use crate::Runtime;
use crate::manifests::{self, ManifestProblem};
use crate::source::manifests::compile_manifests;

/// The field that stands for `prompts.system` where a ConfigMap holds the text.
const SYSTEM_FROM: &str = "prompts.systemFrom.configMapKeyRef";

/// What was checked, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Valid agents.
    pub agents: usize,
    /// Valid providers.
    pub providers: usize,
    /// Every problem, with its file and path.
    pub problems: Vec<ManifestProblem>,
}

/// Checks files and folders together: schema, rules, references between them, templates.
#[must_use]
pub fn validate(paths: &[PathBuf]) -> Report {
    let mut files = Vec::new();
    let mut of_path = Vec::new();
    let mut problems = Vec::new();
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
    problems.extend(found);
    problems.extend(build_problems(&document, &read));
    problems.extend(template_problems(&document, &read));
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
    rejected.problems.into_iter().map(|problem| at_manifest(&problem.path, problem.message, read)).collect()
}

/// Leads a path in the document, `agents.support.prompts.system`, back to the manifest that it came from.
fn at_manifest(path: &str, message: String, read: &manifests::Manifests) -> ManifestProblem {
    for (file, agent) in &read.agents {
        let name = agent.metadata.name.clone().unwrap_or_default();
        if let Some(field) = path.strip_prefix(&format!("agents.{name}.")) {
            let elsewhere = field == "prompts.system" && agent.spec.prompts.system_from.is_some();
            let path = format!("spec.{}", if elsewhere { SYSTEM_FROM } else { field });
            return ManifestProblem { file: file.clone(), kind: "Agent".to_owned(), name, path, message };
        }
    }
    for (file, provider) in &read.providers {
        let name = provider.metadata.name.clone().unwrap_or_default();
        let namespace = provider.metadata.namespace.as_deref().unwrap_or("default");
        if let Some(field) = path.strip_prefix(&format!("providers.{namespace}/{name}.")) {
            let path = format!("spec.{field}");
            return ManifestProblem { file: file.clone(), kind: "Provider".to_owned(), name, path, message };
        }
    }
    ManifestProblem::of_file(path, message)
}
