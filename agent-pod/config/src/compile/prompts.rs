//! The prompts of an agent, those of ConfigMaps included.

use std::collections::{BTreeMap, BTreeSet};

use astromesh_crds::v1alpha1::{ConfigMapKeyRef, Prompts, SYSTEM_PROMPT_CHARS_MAX};

use super::agent::Compiler;
use super::{Lookup, ProblemKind};
use crate::document::PromptsDocument;

/// The ConfigMaps that agents name, by namespace and name.
pub type ConfigMaps = BTreeMap<(String, String), ConfigMapTexts>;

/// What of a ConfigMap matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMapTexts {
    /// Its `data`.
    pub data: BTreeMap<String, String>,
    /// The keys of its `binaryData`.
    pub binary: BTreeSet<String>,
}

pub(super) fn compile(compiler: &mut Compiler, spec: &Prompts, lookup: &Lookup<'_>) -> PromptsDocument {
    let from = spec.system_from.as_ref().map(|from| &from.config_map_key_ref);
    let system = match (&spec.system, from) {
        (Some(text), None) => text.clone(),
        (None, Some(from)) => text_of(from, compiler.namespace(), lookup.config_maps).unwrap_or_else(|message| {
            compiler.problem("spec.prompts.systemFrom.configMapKeyRef", message, ProblemKind::ConfigMapNotFound);
            String::new()
        }),
        (Some(_), Some(_)) | (None, None) => {
            compiler.invalid("spec.prompts", "needs exactly one of system and systemFrom".to_owned());
            String::new()
        }
    };
    PromptsDocument { system, context: spec.context.clone(), templates: spec.templates.clone() }
}

/// The text, or why there is none. Both names stand in every message.
fn text_of(from: &ConfigMapKeyRef, namespace: &str, config_maps: &ConfigMaps) -> Result<String, String> {
    let ConfigMapKeyRef { name, key } = from;
    let Some(found) = config_maps.get(&(namespace.to_owned(), name.clone())) else {
        return Err(format!("there is no ConfigMap `{name}` in namespace `{namespace}`; apply it, with key `{key}`"));
    };
    if found.binary.contains(key) {
        return Err(format!("key `{key}` of ConfigMap `{name}` is binary; put it into data, as text"));
    }
    let Some(text) = found.data.get(key) else {
        return Err(format!("ConfigMap `{name}` has no key `{key}` in its data; add it"));
    };
    if text.is_empty() {
        return Err(format!("key `{key}` of ConfigMap `{name}` is empty; a system prompt has at least one character"));
    }
    if text.chars().count() > SYSTEM_PROMPT_CHARS_MAX {
        return Err(format!(
            "key `{key}` of ConfigMap `{name}` has more than {SYSTEM_PROMPT_CHARS_MAX} characters; shorten it"
        ));
    }
    Ok(text.clone())
}
