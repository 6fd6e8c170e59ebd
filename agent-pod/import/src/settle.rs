//! Takes out of the manifests what this release refuses, and says so, until all of them pass.

use std::collections::{BTreeMap, BTreeSet};

use agent_pod_config::{ConfigMaps, NAMESPACE_NAME_LABEL, ProblemKind, Resources, compile};
use agent_pod_core::prompt::{CONTEXT, Prompts, SYSTEM};
use astromesh_crds::manifest;
use astromesh_crds::v1alpha1::{Agent, Provider};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::manifest::Manifest;
use crate::report::Report;

/// The longest message that is passed on: it may hold the value that was refused.
const MESSAGE_CHARS_MAX: usize = 300;

/// Why what is still at odds goes.
const AT_ODDS: &str = "too much of what is imported together is at odds; import fewer agents at once";

/// How often what is left is compiled again before what is still at odds goes as a whole.
const ROUNDS_MAX: usize = 20;

/// Manifests that pass the check and compile together.
pub(crate) fn settle(mut manifests: Vec<Manifest>, report: &Report) -> Vec<Manifest> {
    manifests.retain_mut(|manifest| passes(manifest, report));
    let mut rounds = 0;
    // Every round takes something out, so that there is an end.
    loop {
        let problems = first_problems(&manifests);
        if problems.is_empty() {
            return without_unused_secrets(manifests, report);
        }
        let last = rounds >= ROUNDS_MAX;
        manifests = (manifests.into_iter().enumerate())
            .filter_map(|(index, mut manifest)| {
                let problem = problems.get(&index);
                let keep = if last && (problem.is_some() || calls_agents(&manifest)) {
                    let what = format!("{} `{}`", manifest.kind(), manifest.name());
                    report.remark(&manifest.source, "", format!("{what} is left out as a whole: {AT_ODDS}"));
                    false
                } else {
                    problem.is_none_or(|(path, message)| {
                        cut(&mut manifest, path, message, report) && passes(&mut manifest, report)
                    })
                };
                keep.then_some(manifest)
            })
            .collect();
        rounds += 1;
    }
}

/// Without its calls, no agent depends on another.
fn calls_agents(manifest: &Manifest) -> bool {
    let tools = manifest.object.pointer("/spec/tools").and_then(Value::as_array);
    manifest.kind() == "Agent" && tools.into_iter().flatten().any(|tool| tool.get("agent").is_some())
}

/// Secrets belong to what is left.
fn without_unused_secrets(mut manifests: Vec<Manifest>, report: &Report) -> Vec<Manifest> {
    let mut used = BTreeSet::new();
    for manifest in &manifests {
        secret_names(&manifest.object, &mut |name| {
            used.insert((manifest.namespace().to_owned(), name.to_owned()));
        });
    }
    manifests.retain(|manifest| {
        let keep = manifest.kind() != "Secret"
            || used.contains(&(manifest.namespace().to_owned(), manifest.name().to_owned()));
        if !keep {
            let message = format!("Secret `{}` is left out: nothing that is left needs it", manifest.name());
            report.remark(&manifest.source, "", message);
        }
        keep
    });
    manifests
}

fn secret_names(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if let ("secretKeyRef", Some(name)) = (key.as_str(), value.get("name").and_then(Value::as_str)) {
                    found(name);
                }
                secret_names(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| secret_names(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes out what the schema, the rules or the templates refuse; false where nothing usable is left.
fn passes(manifest: &mut Manifest, report: &Report) -> bool {
    if manifest.kind() == "Secret" {
        return true;
    }
    loop {
        let problem = manifest::check(&manifest.object).into_iter().next();
        let found = problem.map(|problem| (problem.path, problem.message)).or_else(|| prompt_problem(&manifest.object));
        let Some((path, message)) = found else { return true };
        if !cut(manifest, &path, &message, report) {
            return false;
        }
    }
}

fn prompt_problem(object: &Value) -> Option<(String, String)> {
    let prompts = object.pointer("/spec/prompts")?;
    let text = |key: &str| prompts.get(key).and_then(Value::as_str);
    let templates = prompts.get("templates").and_then(Value::as_object).into_iter().flatten();
    let sources = templates
        .filter_map(|(name, source)| Some((name.as_str(), source.as_str()?)))
        .chain(text("context").map(|source| (CONTEXT, source)))
        .chain(text("system").map(|source| (SYSTEM, source)));
    let (name, error) = Prompts::compile(sources).err()?;
    let field = if [SYSTEM, CONTEXT].contains(&name.as_str()) { name } else { format!("templates.{name}") };
    Some((format!("spec.prompts.{field}"), error.to_string()))
}

/// The first problem of each manifest that has one, by its place. Of circles the first alone: to open it may open others.
fn first_problems(manifests: &[Manifest]) -> BTreeMap<usize, (String, String)> {
    let agents: Vec<Agent> = parsed(manifests, "Agent");
    let providers: Vec<Provider> = parsed(manifests, "Provider");
    let names = manifests.iter().map(|manifest| namespace(manifest.namespace()).to_owned());
    let label = |name: &String| BTreeMap::from([(NAMESPACE_NAME_LABEL.to_owned(), name.clone())]);
    let namespaces = names.map(|name| (name.clone(), label(&name))).collect();
    let (agents, providers): (Vec<_>, Vec<_>) = (agents.iter().collect(), providers.iter().collect());
    let compilation = compile(Resources {
        agents: &agents,
        providers: &providers,
        peers: &[],
        namespaces: &namespaces,
        config_maps: &ConfigMaps::new(),
    });
    let id = |manifest: &Manifest| {
        (manifest.kind().to_owned(), namespace(manifest.namespace()).to_owned(), manifest.name().to_owned())
    };
    let places: BTreeMap<_, _> = manifests.iter().enumerate().map(|(index, manifest)| (id(manifest), index)).collect();
    let mut first = BTreeMap::new();
    let mut circle = None;
    // Names are the importer's own, and unique: there is no problem with one.
    for problem in compilation.problems.into_iter().filter(|problem| problem.path != "metadata.name") {
        let object = problem.object;
        let Some(index) = places.get(&(object.kind.to_owned(), object.namespace, object.name)) else { continue };
        let found = (problem.path, problem.message);
        if problem.kind == ProblemKind::ReferenceCycle {
            circle.get_or_insert((*index, found));
        } else {
            first.entry(*index).or_insert(found);
        }
    }
    if first.is_empty() { circle.into_iter().collect() } else { first }
}

fn namespace(name: &str) -> &str {
    if name.is_empty() { "default" } else { name }
}

fn parsed<T: DeserializeOwned>(manifests: &[Manifest], kind: &str) -> Vec<T> {
    let of_kind = manifests.iter().filter(|manifest| manifest.kind() == kind);
    of_kind.filter_map(|manifest| serde_json::from_value(manifest.object.clone()).ok()).collect()
}

/// Takes out what a problem is about; false where the object as a whole has to go.
fn cut(manifest: &mut Manifest, path: &str, message: &str, report: &Report) -> bool {
    let place = place(manifest, path);
    let what = format!("{} `{}`", manifest.kind(), manifest.name());
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let unknown = message.starts_with("unknown field") || message.contains(" is not one of ");
    let why = if unknown { format!("not possible in this release ({message})") } else { message };
    let Some(place) = place else {
        report.remark(&manifest.source, "", format!("{what} is left out as a whole: {path}: {why}"));
        return false;
    };
    let removed = remove(&mut manifest.object, &place);
    let name =
        removed.as_ref().and_then(|value| value.get("name").or_else(|| value.get("type"))).and_then(Value::as_str);
    let named = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
    let written = dotted(&place);
    report.remark(&manifest.source, "", format!("{what}: {written}{named} is left out: {why}"));
    removed.is_some()
}

/// What to take out for a problem at `path`: as little as makes sense without it.
fn place(manifest: &Manifest, path: &str) -> Option<Vec<String>> {
    let mut parts: Vec<String> = path
        .replace('[', ".")
        .replace(']', "")
        .split('.')
        .map(ToOwned::to_owned)
        .filter(|part| !part.is_empty())
        .collect();
    let at = |index: usize| parts.get(index).map(String::as_str).unwrap_or_default();
    // Without them more would be allowed than before, or a credential would go elsewhere.
    let whole = at(0) != "spec"
        || at(1) == "permissions"
        || manifest.kind() == "Provider" && !["models", "timeouts"].contains(&at(1));
    if whole {
        return None;
    }
    let unit = match (at(1), at(2)) {
        ("tools", _) => 3,
        ("guardrails", _) => 4,
        ("memory", _) => 3,
        ("model", "candidates") if at(4) != "parameters" => 4,
        ("roles", _) if at(3) == "candidates" && at(5) != "parameters" => 5,
        _ => parts.len(),
    };
    parts.truncate(unit);
    while parts.len() > 1 && manifest.object.pointer(&pointer(&parts)).is_none() {
        parts.pop();
    }
    (parts.len() > 1).then_some(parts)
}

fn pointer(parts: &[String]) -> String {
    parts.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

fn remove(object: &mut Value, parts: &[String]) -> Option<Value> {
    let (last, parents) = parts.split_last()?;
    match object.pointer_mut(&pointer(parents))? {
        Value::Object(fields) => fields.shift_remove(last),
        Value::Array(items) => {
            let index = last.parse().ok().filter(|index| *index < items.len())?;
            Some(items.remove(index))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn dotted(parts: &[String]) -> String {
    let mut path = String::new();
    for part in parts {
        if part.parse::<usize>().is_ok() {
            path.push_str(&format!("[{part}]"));
        } else {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(part);
        }
    }
    path
}
