//! The models of a role: candidates and the providers that they lead to.

use std::collections::BTreeMap;

use astromesh_crds::manifest::excerpt;
use astromesh_crds::v1alpha1::{Candidate, ModelSpec, Parameters, Provider};
use serde_json::Value;

use super::consent::refusal;
use super::provider::{compile_provider, sorted_set};
use super::{Lookup, ObjectId, Problem, ProblemKind, provider_key};
use crate::document::{CandidateDocument, ModelDocument, ParametersDocument, ProviderDocument};

/// The providers that candidates use, by their key in the document.
pub(super) type Used = BTreeMap<String, ProviderDocument>;

/// What a request says by itself: the vendor's own parameters must not change which model is asked what.
const OWN_KEYS: [&str; 7] =
    ["model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format"];

/// A role, the providers that it uses, and what is wrong with it.
pub(super) fn compile_role(
    model: &ModelSpec,
    path: &str,
    agent: &ObjectId,
    lookup: &Lookup<'_>,
) -> (ModelDocument, Used, Vec<Problem>) {
    let (mut candidates, mut used, mut problems) = (Vec::new(), Used::new(), Vec::new());
    for (index, candidate) in model.candidates.iter().enumerate() {
        let path = format!("{path}.candidates[{index}]");
        match compile_candidate(candidate, agent, lookup) {
            Ok((compiled, provider)) => {
                used.insert(compiled.provider.clone(), provider);
                candidates.push(compiled);
            }
            Err(Fault { field, message, kind }) => {
                problems.push(Problem { object: agent.clone(), path: format!("{path}.{field}"), message, kind });
            }
        }
    }
    let compiled = ModelDocument { strategy: model.strategy, candidates, requires: sorted_set(&model.requires) };
    (compiled, used, problems)
}

/// A problem whose path begins at the candidate.
struct Fault {
    field: String,
    message: String,
    kind: ProblemKind,
}

impl Fault {
    fn new(field: impl Into<String>, message: impl Into<String>, kind: ProblemKind) -> Self {
        Self { field: field.into(), message: message.into(), kind }
    }
}

fn compile_candidate(
    candidate: &Candidate,
    agent: &ObjectId,
    lookup: &Lookup<'_>,
) -> Result<(CandidateDocument, ProviderDocument), Fault> {
    let (key, provider) = find_provider(candidate, agent, lookup)?;
    let name = &candidate.provider_ref.name;
    let compiled = compile_provider(provider).map_err(|why| {
        let message = format!("Provider `{name}` is not valid: {why}");
        Fault::new("providerRef.name", message, ProblemKind::ProviderInvalid)
    })?;
    let first = || provider.spec.models.first().map(|model| model.name.clone());
    let Some(model) = candidate.model.clone().or_else(first) else {
        let message = format!("Provider `{name}` lists no models; name one here, or in its spec.models");
        return Err(Fault::new("model", message, ProblemKind::Invalid));
    };
    let mut extra = candidate.parameters.iter().flat_map(|parameters| parameters.extra.keys());
    if let Some(key) = extra.find(|key| OWN_KEYS.contains(&key.as_str())) {
        let message = format!("`{key}` is part of every request already; extra is for the vendor's own parameters");
        return Err(Fault::new(format!("parameters.extra.{key}"), message, ProblemKind::Invalid));
    }
    let parameters = candidate.parameters.as_ref().map_or_else(ParametersDocument::default, compile_parameters);
    Ok((CandidateDocument { provider: key, model, parameters }, compiled))
}

/// The provider that a candidate names, if it is there and may be used.
fn find_provider<'a>(
    candidate: &Candidate,
    agent: &ObjectId,
    lookup: &Lookup<'a>,
) -> Result<(String, &'a Provider), Fault> {
    let name = &candidate.provider_ref.name;
    let namespace = candidate.provider_ref.namespace.as_ref().unwrap_or(&agent.namespace);
    let key = provider_key(namespace, name);
    let Some(provider) = lookup.providers.get(&key) else {
        let mut message = format!("there is no Provider `{}` in namespace `{}`", excerpt(name), excerpt(namespace));
        if *namespace != agent.namespace {
            message.push_str(", or that namespace is not watched from here");
        }
        return Err(Fault::new("providerRef.name", message, ProblemKind::ProviderNotFound));
    };
    if *namespace != agent.namespace
        && let Some(why) = refusal(provider, &agent.namespace, lookup.namespaces)
    {
        let message = format!("Provider `{name}` of namespace `{namespace}` {why}");
        return Err(Fault::new("providerRef.namespace", message, ProblemKind::RefNotPermitted));
    }
    Ok((key, provider))
}

fn compile_parameters(parameters: &Parameters) -> ParametersDocument {
    ParametersDocument {
        temperature: parameters.temperature,
        top_p: parameters.top_p,
        max_tokens: parameters.max_tokens,
        stop: parameters.stop.clone(),
        seed: parameters.seed,
        extra: parameters.extra.iter().map(|(key, value)| (key.clone(), sorted(value))).collect(),
    }
}

/// The same value with the keys of every object in order: the API server sorts them, a file keeps its own order.
pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
