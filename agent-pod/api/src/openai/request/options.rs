//! Sampling, the form of the answer, and what agents do not do.

use agent_pod_core::model::{Parameters, ResponseFormat};
use serde_json::{Map, Value, json};

use super::tools;
use crate::fields::Fields;

/// The most texts that end a reply, as at OpenAI.
const STOPS_MAX: usize = 4;

/// Reads the sampling parameters.
pub(super) fn parameters(fields: &mut Fields) -> Parameters {
    let mut extra = Map::new();
    for name in ["frequency_penalty", "presence_penalty"] {
        if let Some(penalty) = fields.number(name, -2.0, 2.0) {
            extra.insert(name.to_owned(), json!(penalty));
        }
    }
    let (current, older) = (token_limit(fields, "max_completion_tokens"), token_limit(fields, "max_tokens"));
    Parameters {
        temperature: fields.number("temperature", 0.0, 2.0),
        top_p: fields.number("top_p", 0.0, 1.0),
        max_tokens: current.or(older),
        stop: stops(fields),
        seed: seed(fields),
        extra,
    }
}

fn token_limit(fields: &mut Fields, name: &str) -> Option<u32> {
    let limit = fields.take(name)?.as_u64().and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit > 0);
    if limit.is_none() {
        fields.refuse(name, "must be a whole number above 0");
    }
    limit
}

fn seed(fields: &mut Fields) -> Option<i64> {
    let seed = fields.take("seed")?.as_i64();
    if seed.is_none() {
        fields.refuse("seed", "must be a whole number");
    }
    seed
}

fn stops(fields: &mut Fields) -> Vec<String> {
    let texts = match fields.take("stop") {
        None => return Vec::new(),
        Some(Value::String(text)) => vec![Some(text)],
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(_) => vec![None],
    };
    let stops: Option<Vec<_>> = texts.into_iter().map(|text| text.filter(|text| !text.is_empty())).collect();
    match stops {
        Some(stops) if stops.len() <= STOPS_MAX => stops,
        Some(_) | None => {
            fields.refuse("stop", &format!("must be a text or at most {STOPS_MAX} texts, none of them empty"));
            Vec::new()
        }
    }
}

/// Reads `response_format`; text is the default of every model.
pub(super) fn response_format(fields: &mut Fields) -> Option<ResponseFormat> {
    let value = fields.take("response_format")?;
    let mut format = fields.nested("response_format", value)?;
    let read = match format.required_text("type", "`text`, `json_object` or `json_schema`").as_deref() {
        Some("json_object") => Some(ResponseFormat::JsonObject),
        Some("json_schema") => json_schema(&mut format),
        Some("text") | None => None,
        Some(_other) => {
            format.refuse("type", "must be `text`, `json_object` or `json_schema`");
            None
        }
    };
    fields.absorb(format);
    read
}

fn json_schema(format: &mut Fields) -> Option<ResponseFormat> {
    let value = format.require("json_schema", "an object with `name` and `schema`")?;
    let mut wanted = format.nested("json_schema", value)?;
    let name = tools::name(&mut wanted, "a name for the schema");
    let schema = wanted.object("schema", "must be a JSON Schema").map(Value::Object);
    if let Some(schema) = &schema {
        tools::affordable(&mut wanted, "schema", schema, &mut 0);
    }
    if schema.is_none() && wanted.problems.is_empty() {
        wanted.refuse("schema", "is required: a JSON Schema");
    }
    let strict = wanted.take("strict");
    if strict.as_ref().is_some_and(|strict| !strict.is_boolean()) {
        wanted.refuse("strict", "must be true or false");
    }
    format.absorb(wanted);
    let strict = strict.and_then(|strict| strict.as_bool());
    Some(ResponseFormat::JsonSchema { name: name?, schema: schema?, strict })
}

/// Reads `stream_options`.
pub(super) fn include_usage(fields: &mut Fields) -> bool {
    let Some(value) = fields.take("stream_options") else { return false };
    let Some(mut options) = fields.nested("stream_options", value) else { return false };
    let include_usage = options.switch("include_usage");
    fields.absorb(options);
    include_usage
}

/// What changes the answer's shape is refused and not ignored: the caller waits for it.
pub(super) fn refuse_others(fields: &mut Fields) {
    if fields.take("n").is_some_and(|count| count != 1) {
        fields.refuse("n", "must be 1: an agent gives one answer");
    }
    for deprecated in ["functions", "function_call"] {
        if fields.take(deprecated).is_some() {
            fields.refuse(deprecated, "is no longer in use; send `tools` and `tool_choice`");
        }
    }
    if fields.switch("logprobs") || fields.take("top_logprobs").is_some_and(|count| count != 0) {
        fields.decline("logprobs", "is nothing that agents tell");
    }
    if fields.take("audio").is_some() {
        fields.decline("audio", "is nothing that agents make");
    }
    let only_text = |modality: &Value| modality == "text";
    if fields.list("modalities", "must be an array").is_some_and(|list| !list.iter().all(only_text)) {
        fields.decline("modalities", "must be `text` alone");
    }
}
