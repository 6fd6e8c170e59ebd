//! Which models an agent calls: form A with `primary` and `fallback`, form B with `default` and `roles`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Context;
use crate::names;
use crate::provider::{connection, provider_type};
use crate::resources::Connection;
use crate::section::Section;

const NO_EFFECT: &str = "had no effect in the original; left out";

/// The models of the default role, and those of the others.
pub(super) fn convert(
    section: Option<Section<'_>>,
    role_map: Option<Section<'_>>,
    context: &mut Context<'_>,
) -> (Option<Value>, Option<Value>) {
    let Some(mut section) = section else { return (None, None) };
    let keys = section.keys();
    let form_b = keys.iter().any(|key| key == "default" || key == "roles");
    let (default, roles) = if form_b {
        section.refuse_all(&["primary", "fallback", "extra", "routing"], "is ignored beside default and roles");
        let default = section.section("default").map(|default| role(default, context));
        let mut defined = BTreeMap::new();
        if let Some(mut written) = section.section("roles") {
            for name in written.keys() {
                if let Some(models) = written.section(&name) {
                    defined.insert(name, role(models, context));
                }
            }
        }
        (default, roles(&defined, role_map, &section))
    } else {
        if let Some(mut map) = role_map {
            map.remark("", "maps to model.roles, which are missing; left out");
            map.take_all();
        }
        (Some(form_a(&mut section, context)), None)
    };
    (default, roles)
}

fn form_a(section: &mut Section<'_>, context: &mut Context<'_>) -> Value {
    let mut written = section.sections("primary");
    written.extend(section.sections("fallback"));
    if let Some(mut extra) = section.section("extra") {
        written.extend(extra.keys().into_iter().filter_map(|key| extra.section(&key)).collect::<Vec<_>>());
    }
    let candidates: Vec<Value> = written.into_iter().filter_map(|section| candidate(section, context)).collect();
    let mut made = json!({"candidates": candidates});
    match section.take("routing") {
        Some(Value::String(strategy)) => made["strategy"] = strategy.into(),
        Some(routing) => {
            if let Some(mut routing) = Section::new(section.report, section.file, section.at("routing"), routing) {
                if let Some(strategy) = routing.text("strategy") {
                    made["strategy"] = strategy.into();
                }
                routing.refuse("health_check_interval", NO_EFFECT);
            }
        }
        None => {}
    }
    made
}

fn role(mut section: Section<'_>, context: &mut Context<'_>) -> Value {
    let written = section.sections("candidates");
    let candidates: Vec<Value> = written.into_iter().filter_map(|section| candidate(section, context)).collect();
    let mut made = json!({"candidates": candidates});
    if let Some(strategy) = section.text("strategy") {
        made["strategy"] = strategy.into();
    }
    made
}

fn is_role(name: &str) -> bool {
    name.starts_with("stage:")
        || ["planner", "worker", "synthesizer", "summarizer", "reasoner", "supervisor"].contains(&name)
}

/// The models of each role of ours: as mapped, else of the same name.
fn roles(defined: &BTreeMap<String, Value>, map: Option<Section<'_>>, model: &Section<'_>) -> Option<Value> {
    let mut made = Map::new();
    let mut used = BTreeSet::new();
    if let Some(mut map) = map {
        for role in map.keys() {
            let Some(target) = map.text(&role) else { continue };
            match defined.get(&target) {
                Some(models) if is_role(&role) => {
                    made.insert(role, models.clone());
                    used.insert(target);
                }
                Some(_) => map.remark(&role, "is not a role of the original; left out"),
                None if target == "default" => {}
                None => map.remark(&role, format!("model.roles has no `{target}`; the role has the default models")),
            }
        }
    }
    for (name, models) in defined {
        if is_role(name) && !made.contains_key(name) {
            made.insert(name.clone(), models.clone());
        } else if !used.contains(name) {
            model.remark(&format!("roles.{name}"), "no role of a pattern has these models; left out");
        }
    }
    (!made.is_empty()).then_some(Value::Object(made))
}

fn candidate(mut section: Section<'_>, context: &mut Context<'_>) -> Option<Value> {
    section.refuse_all(
        &["endpoint_name", "contract", "invalid_policy", "max_retries"],
        "belongs to centinela, which has no counterpart; left out",
    );
    let model = section.text("model");
    let parameters = parameters(&mut section);
    let window = section.integer("context_window");
    let reference = section.text("providerRef");
    let found = match &reference {
        Some(reference) => named(&mut section, reference, model, context),
        None => inline(&mut section, model.as_deref(), context),
    };
    let Some((base, connection, model)) = found else {
        section.take_all();
        return None;
    };
    let definition = reference.as_ref().and_then(|reference| context.resources.definitions.get(reference));
    let first = definition.and_then(|definition| definition.models.first());
    let model = model.or_else(|| default_model(first, &connection, &section));
    let provider = context.resources.provider(context.file, context.namespace, &base, &connection);
    if let Some(reference) = &reference {
        context.resources.defined_models(context.namespace, &provider, reference);
    }
    let mut made = json!({"providerRef": {"name": provider}});
    if let Some(model) = model {
        context.resources.model(context.namespace, &provider, &model, window);
        made["model"] = model.into();
    }
    if let Some(parameters) = parameters {
        made["parameters"] = parameters;
    }
    Some(made)
}

type Found = (String, Connection, Option<String>);

/// The model of a candidate that names none: none where the Provider has a first one.
fn default_model(first: Option<&String>, connection: &Connection, section: &Section<'_>) -> Option<String> {
    if first.is_some() {
        return None;
    }
    if connection.provider_type == "openai_compat" {
        section.remark("model", "is missing; the original took gpt-4o-mini, and so does the Agent");
        return Some("gpt-4o-mini".to_owned());
    }
    section.remark("model", "is missing; name one");
    None
}

/// A candidate at a provider of `providers.yaml`, with what it says otherwise.
fn named(section: &mut Section<'_>, reference: &str, model: Option<String>, context: &Context<'_>) -> Option<Found> {
    section.refuse_all(&["provider", "source"], "stands beside providerRef, which is used; left out");
    let Some(definition) = context.resources.definitions.get(reference) else {
        section.remark("providerRef", format!("there is no usable provider `{reference}`; the candidate is left out"));
        return None;
    };
    let mut changed = definition.connection.clone();
    if let Some(endpoint) = section.text("endpoint") {
        changed.endpoint = Some(endpoint.trim_end_matches('/').to_owned());
    }
    if let Some(secret) = crate::provider::credential(section, context.name) {
        changed.secret = Some(secret);
    }
    if let Some(timeout) = section.seconds("timeout") {
        changed.timeout = Some(timeout);
    }
    Some((definition.name.clone(), changed, model))
}

/// A candidate that says itself where its server is.
fn inline(section: &mut Section<'_>, model: Option<&str>, context: &Context<'_>) -> Option<Found> {
    let written = section.text("provider").or_else(|| section.text("source"));
    let vendor = model.and_then(|model| model.split_once('/'));
    let mut original = written.unwrap_or_else(|| {
        let litellm = vendor.is_some();
        if litellm { "litellm" } else { "openai_compat" }.to_owned()
    });
    let mut model = model.map(ToOwned::to_owned);
    if let ("litellm", Some((vendor @ ("openai" | "ollama"), name))) = (original.as_str(), vendor) {
        section.remark("model", format!("was called by way of litellm; it is `{name}` of {vendor} now"));
        original = vendor.to_owned();
        model = Some(name.to_owned());
    }
    let kind = match provider_type(&original) {
        Ok(kind) => kind,
        Err(why) => {
            section.remark("", format!("`{original}`: {why}; the candidate is left out"));
            return None;
        }
    };
    let connection = connection(section, &original, kind, context.name);
    let host = connection.endpoint.as_deref().and_then(|endpoint| endpoint.split("://").nth(1));
    // What stands before an `@` may be a password.
    let host = host.and_then(|rest| rest.split('/').next()).and_then(|rest| rest.rsplit('@').next());
    let base = host.map_or_else(|| kind.to_owned(), |host| format!("{kind}-{host}"));
    Some((names::label(&base, "provider"), connection, model))
}

fn parameters(section: &mut Section<'_>) -> Option<Value> {
    let mut made = Map::new();
    let mut extra = Map::new();
    let mut add = |key: String, value: Value| {
        let ours = match key.as_str() {
            "temperature" | "stop" | "seed" => key,
            "top_p" => "topP".to_owned(),
            "max_tokens" => "maxTokens".to_owned(),
            _ => {
                extra.insert(key, value);
                return;
            }
        };
        let value = if ours == "stop" && value.is_string() { Value::Array(vec![value]) } else { value };
        made.insert(ours, value);
    };
    if let Some(mut written) = section.section("parameters") {
        written.take_all().into_iter().filter(|(_, value)| !value.is_null()).for_each(|(key, value)| add(key, value));
    }
    for key in ["temperature", "max_tokens"] {
        if let Some(value) = section.take(key) {
            add(key.to_owned(), value);
        }
    }
    if !extra.is_empty() {
        made.insert("extra".into(), Value::Object(extra));
    }
    (!made.is_empty()).then_some(Value::Object(made))
}
