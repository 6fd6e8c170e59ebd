//! What the API server would say of an object: schema, unknown fields, CEL rules.

use std::collections::{HashMap, HashSet};
use std::{fmt, sync::LazyLock};

use kube::core::cel::{CompiledSchema, compile_schema, validate_compiled};
use serde_json::{Value, json};

use self::first::First;
use super::excerpt;

mod first;
mod messages;
mod size;

/// The longest name of a namespace in Kubernetes.
const NAMESPACE_CHARS_MAX: usize = 63;

const UNKNOWN_FIELD: &str = "unknown field; check its spelling and its place";

/// Something wrong with an object, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path of the field from the object's root, for example `spec.model.candidates[0].model`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

struct KindChecker {
    schema: Value,
    rules: CompiledSchema,
    validator: Option<jsonschema::Validator>,
}

static CHECKERS: LazyLock<HashMap<String, KindChecker>> = LazyLock::new(|| {
    crate::all()
        .into_iter()
        .filter_map(|definition| {
            let kind = definition.spec.names.kind.clone();
            let version = definition.spec.versions.into_iter().next()?;
            let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
            let mut strict = schema.clone();
            for envelope in ["apiVersion", "kind", "metadata", "status"] {
                // The API server's part of an object: not ours to check.
                strict["properties"][envelope] = json!({});
            }
            close(&mut strict);
            let rules = compile_schema(&schema);
            Some((kind, KindChecker { validator: jsonschema::validator_for(&strict).ok(), schema, rules }))
        })
        .collect()
});

/// The problems that the API server would find in `object`, an `astromesh.io/v1alpha1` object as JSON: the first 20 by
/// path, and one that says how many more there are.
///
/// Problems of shape hide those of the CEL rules, as they do in the API server: a rule is only evaluated on an
/// object that has the right shape. Defaults are filled in before the rules run.
#[must_use]
pub fn check(object: &Value) -> Vec<Problem> {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(checker) = CHECKERS.get(kind) else {
        return vec![Problem {
            path: "kind".into(),
            message: format!(
                "`{}` is not a kind of {}/{}; known are Agent and Provider",
                excerpt(kind),
                crate::GROUP,
                crate::VERSION
            ),
        }];
    };
    if let Some(problem) = size::too_large(&checker.schema, object) {
        return vec![problem];
    }
    let object = &without_nulls(object);
    let mut problems = First::default();
    metadata_problems(object, &mut problems);
    duplicate_problems(&checker.schema, object, "", &mut problems);
    if let Some(validator) = &checker.validator {
        validator.iter_errors(object).for_each(|error| schema_problems(&error, &mut problems));
    }
    if problems.is_empty() {
        rule_problems(&checker.rules, object, &mut problems);
    }
    problems.into_vec()
}

/// The fields whose objects are free-form.
const FREE_FORM: [&str; 2] = ["extra", "outputSchema"];

/// The object as the API server reads it: a null says the same as an absent field. Free-form objects stay as they are.
#[must_use]
pub fn without_nulls(object: &Value) -> Value {
    match object {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| {
                    let free = FREE_FORM.contains(&key.as_str());
                    (key.clone(), if free { value.clone() } else { without_nulls(value) })
                })
                .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => object.clone(),
    }
}

/// Lists that are maps by a key hold each key once, lists that are sets each value.
fn duplicate_problems(schema: &Value, value: &Value, path: &str, problems: &mut First) {
    if let (Some(properties), Some(fields)) = (schema.get("properties").and_then(Value::as_object), value.as_object()) {
        for (name, field) in fields {
            if let Some(property) = properties.get(name) {
                duplicate_problems(property, field, &join(path, name), problems);
            }
        }
    }
    if let (Some(inner), Some(entries)) = (schema.get("additionalProperties"), value.as_object()) {
        for (key, entry) in entries {
            duplicate_problems(inner, entry, &join(path, key), problems);
        }
    }
    let Some(items) = value.as_array() else { return };
    let mut seen = HashSet::new();
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    let is_set = schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("set");
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if let Some(keys) = keys {
            let key: Vec<_> = keys.iter().filter_map(Value::as_str).map(|key| item.get(key)).collect();
            if !seen.insert(format!("{key:?}")) {
                let message = "a second entry of the same name; remove or rename one".to_owned();
                problems.push(Problem { path: path.clone(), message });
            }
        }
        if is_set && !seen.insert(item.to_string()) {
            problems.push(Problem { path: path.clone(), message: "is in the list twice; remove one".to_owned() });
        }
        if let Some(inner) = schema.get("items") {
            duplicate_problems(inner, item, &path, problems);
        }
    }
}

/// The fields of `metadata` (`ObjectMeta` of Kubernetes' meta/v1).
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

fn metadata_problems(object: &Value, problems: &mut First) {
    let fields = object.get("metadata").and_then(Value::as_object).into_iter().flatten();
    for (field, _) in fields.filter(|(field, _)| !METADATA.contains(&field.as_str())) {
        problems.push(Problem { path: join("metadata", field), message: UNKNOWN_FIELD.into() });
    }
    name_problem(object).into_iter().chain(namespace_problem(object)).for_each(|problem| problems.push(problem));
}

fn name_problem(object: &Value) -> Option<Problem> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let valid = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.']);
    if valid {
        return None;
    }
    let message = if name.is_empty() {
        "a name is required".to_owned()
    } else {
        format!(
            "`{}` is not a valid name: use lower-case letters, digits and `-`, beginning and ending with a letter or digit",
            excerpt(name)
        )
    };
    Some(Problem { path: "metadata.name".into(), message })
}

/// A namespace is part of many keys and messages.
fn namespace_problem(object: &Value) -> Option<Problem> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str)?;
    let valid = namespace.len() <= NAMESPACE_CHARS_MAX
        && namespace.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !namespace.starts_with('-')
        && !namespace.ends_with('-');
    let message = format!(
        "`{}` is not a valid namespace: use at most {NAMESPACE_CHARS_MAX} lower-case letters, digits and `-`, beginning and \
         ending with a letter or digit",
        excerpt(namespace)
    );
    (!valid).then_some(Problem { path: "metadata.namespace".into(), message })
}

fn schema_problems(error: &jsonschema::ValidationError<'_>, problems: &mut First) {
    let path = dotted(error.instance_path().as_str());
    if let jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        for field in unexpected {
            problems.push(Problem { path: join(&path, field), message: UNKNOWN_FIELD.into() });
        }
    } else if let jsonschema::error::ValidationErrorKind::Required { property } = error.kind() {
        let field = property.as_str().unwrap_or_default();
        problems.push(Problem { path: join(&path, field), message: "required, but missing".into() });
    } else {
        problems.push(Problem { path, message: messages::of(error) });
    }
}

fn rule_problems(rules: &CompiledSchema, object: &Value, problems: &mut First) {
    let Err(errors) = validate_compiled(rules, object, None) else { return };
    for error in errors.into_vec() {
        // The rules at the object's root are those on its name.
        let path = if error.field_path.is_empty() { "metadata.name".to_owned() } else { error.field_path.clone() };
        problems.push(Problem { path, message: error.message.clone() });
    }
}

/// A key may be as long as a file; paths hold as much of it as it takes to find it.
fn join(path: &str, field: &str) -> String {
    let field = excerpt(field);
    if path.is_empty() { field } else { format!("{path}.{field}") }
}

/// `/spec/model/candidates/0` as `spec.model.candidates[0]`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.parse::<usize>().is_ok() {
            path.push_str(&format!("[{part}]"));
        } else {
            path = join(&path, &part.replace("~1", "/").replace("~0", "~"));
        }
    }
    path
}

/// Refuses unknown fields wherever the schema names the known ones, as `kubectl apply` does.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            if !open && map.get("properties").is_some_and(Value::is_object) {
                map.insert("additionalProperties".into(), json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
