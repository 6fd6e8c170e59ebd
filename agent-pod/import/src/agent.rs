//! `agents/*.agent.yaml`.

mod guardrails;
mod memory;
mod model;
mod orchestration;
mod prompts;
mod schema;
mod tools;

use serde_json::{Map, Value, json};

use crate::manifest::Manifest;
use crate::names;
use crate::provider::{header, namespace};
use crate::read::Document;
use crate::report::Report;
use crate::resources::{AgentNames, Resources, object};
use crate::section::Section;

/// What the parts of an agent need to know of it.
pub(crate) struct Context<'a> {
    pub(crate) file: &'a str,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) resources: &'a mut Resources,
}

/// The names of all agents, before any is read: agents call each other.
pub(crate) fn names<'d>(documents: impl Iterator<Item = &'d Document>, report: &Report) -> AgentNames {
    let mut taken = names::Taken::default();
    documents
        .map(|document| {
            let written = document.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let file = document.file.rsplit('/').next().unwrap_or_default();
            let original = if written.is_empty() { file.split('.').next().unwrap_or_default() } else { written };
            // Also in different namespaces: without a cluster, agents of one name cannot be told apart.
            let name = taken.unique(&names::label(original, "agent"));
            if name != written {
                report.remark(&document.file, "metadata.name", format!("the agent is called `{name}` now"));
            }
            (original.to_owned(), name)
        })
        .collect()
}

/// Makes the Agent of a file, with the Secrets and Providers that it needs.
pub(crate) fn convert(document: &Document, index: usize, report: &Report, resources: &mut Resources) {
    let Some(mut root) = document.section(report) else { return };
    let Some(name) = resources.agents.name(index) else { return };
    root.take("kind");
    header(&mut root);
    let (namespace, labels) = root.section("metadata").map(metadata).unwrap_or_default();
    let Some(mut section) = root.section("spec") else {
        return root.remark("spec", "is missing; the agent is left out");
    };
    let context = &mut Context { file: &document.file, name: &name, namespace: &namespace, resources };
    let spec = spec(&mut section, context);
    let mut manifest = object("Agent", &name, &namespace, spec);
    if !labels.is_empty() {
        manifest["metadata"]["labels"] = Value::Object(labels);
    }
    resources.manifests.push(Manifest { source: document.file.clone(), object: manifest });
}

fn metadata(mut metadata: Section<'_>) -> (String, Map<String, Value>) {
    metadata.take("name");
    let mut labels = Map::new();
    if let Some(version) = metadata.text("version") {
        if names::is_label_value(&version) {
            labels.insert("app.kubernetes.io/version".into(), version.into());
        } else {
            metadata.remark("version", "is no value of a label; left out");
        }
    }
    if let Some(mut written) = metadata.section("labels") {
        for key in written.keys() {
            let Some(value) = written.text(&key) else { continue };
            if names::is_label_key(&key) && names::is_label_value(&value) {
                labels.insert(key, value.into());
            } else {
                written.remark(&key, "is no label as Kubernetes wants them; left out");
            }
        }
    }
    (namespace(&mut metadata), labels)
}

fn spec(section: &mut Section<'_>, context: &mut Context<'_>) -> Map<String, Value> {
    let mut spec = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            spec.insert(key.to_owned(), value);
        }
    };
    put("identity", section.section("identity").and_then(identity));
    let mut orchestration = section.section("orchestration");
    let role_map = orchestration.as_mut().and_then(|orchestration| orchestration.section("role_map"));
    let (model, roles) = model::convert(section.section("model"), role_map, context);
    put("model", model);
    put("roles", roles);
    put("prompts", Some(prompts::convert(section)));
    put("orchestration", orchestration.and_then(orchestration::convert));
    put("memory", section.section("memory").and_then(|memory| memory::convert(memory, context)));
    put("guardrails", section.section("guardrails").and_then(guardrails::convert));
    let tools: Vec<Value> =
        section.sections("tools").into_iter().filter_map(|tool| tools::convert(tool, context)).collect();
    put("tools", (!tools.is_empty()).then_some(Value::Array(tools)));
    put("permissions", section.section("permissions").and_then(permissions));
    put("outputSchema", section.take("output_schema").map(schema::object));
    without_counterpart(section);
    spec
}

fn identity(mut identity: Section<'_>) -> Option<Value> {
    let mut made = Map::new();
    for (key, ours) in [("display_name", "displayName"), ("description", "description")] {
        if let Some(text) = identity.text(key) {
            made.insert(ours.into(), text.into());
        }
    }
    identity.refuse("avatar", "agents have no picture; left out");
    (!made.is_empty()).then_some(Value::Object(made))
}

fn permissions(mut permissions: Section<'_>) -> Option<Value> {
    let (allow, deny) = (permissions.texts("allowed_actions"), permissions.texts("denied_actions"));
    permissions.refuse_all(
        &["filesystem", "network", "execution"],
        "had no effect in the original; tools have no file system, and a NetworkPolicy bounds the network",
    );
    (!allow.is_empty() || !deny.is_empty()).then(|| json!({"allow": allow, "deny": deny}))
}

fn without_counterpart(section: &mut Section<'_>) {
    section.refuse("program", "the pattern glyph has no counterpart; describe the work in the prompt");
    section.refuse(
        "prefetch",
        "has no counterpart; the model asks for the tool itself, or the caller sends it in `context`",
    );
    section.refuse("knowledge", "not possible yet: the kind RagPipeline comes in a later release");
    section.refuse("chain", "has no counterpart; call the next agent as a tool, or use the pattern pipeline");
    section.refuse("channels", "not possible yet: the kind Channel comes in a later release");
    section.refuse("skills", "has no counterpart; say it in identity.description");
    section.refuse("observability", "had no effect in the original; metrics and traces belong to the process");
}
