//! Structured output: JSON that a model was asked for, found in its text and held against a schema.

use std::sync::Arc;

use agent_pod_schema::Schema;
use serde_json::Value;

use crate::cpu::offload;
use crate::model::ResponseFormat;
use crate::schema::OFFLOADED_WORK;
pub use crate::schema::SchemaError;

/// A text of more bytes is parsed on a thread that serves no sockets.
const OFFLOADED_BYTES: usize = 64 << 10;

/// A schema for answers.
#[derive(Clone)]
pub struct OutputSchema {
    text: Arc<str>,
    compiled: Arc<Schema>,
    format: Arc<ResponseFormat>,
}

impl OutputSchema {
    /// Compiles a schema (JSON Schema 2020-12). References to other documents are not followed.
    ///
    /// # Errors
    /// When it is none or costs too much, with the place in the schema.
    pub fn compile(name: &str, schema: Value) -> Result<Self, SchemaError> {
        let (text, compiled) = (schema.to_string().into(), Arc::new(Schema::compile(&schema)?));
        let format = ResponseFormat::JsonSchema { name: name.to_owned(), schema, strict: None };
        Ok(Self { text, compiled, format: Arc::new(format) })
    }

    /// As it is asked of servers that can hold a model to it.
    #[must_use]
    pub fn format(&self) -> &ResponseFormat {
        &self.format
    }

    /// As it is asked of a model in words, which every model understands somehow.
    #[must_use]
    pub fn instruction(&self) -> String {
        format!("Answer with JSON only, without any other text. The JSON must fit this JSON Schema: {}", self.text)
    }

    /// The data in a text.
    ///
    /// # Errors
    /// What is wrong, in words for a model and of bounded length.
    pub async fn read(&self, text: &str) -> Result<Value, String> {
        let value = if text.len() > OFFLOADED_BYTES {
            let text = text.to_owned();
            offload(move || json_in(&text)).await
        } else {
            json_in(text)
        };
        let value = value.ok_or("there is no JSON in the answer")?;
        let schema = Arc::clone(&self.compiled);
        let large = schema.work(&value) > OFFLOADED_WORK;
        let check = move || schema.check(&value).map(|()| value).map_err(|problems| problems.join("; "));
        if large { offload(check).await } else { check() }
    }
}

/// The JSON in a text: all of it, else its last fenced block, else what stands between its first opening and its last
/// closing bracket.
#[must_use]
pub fn json_in(text: &str) -> Option<Value> {
    let parse = |text: &str| serde_json::from_str::<Value>(text.trim()).ok();
    parse(text)
        .or_else(|| parse(fenced(text)?))
        .or_else(|| parse(between(text, '{', '}')?))
        .or_else(|| parse(between(text, '[', ']')?))
}

fn fenced(text: &str) -> Option<&str> {
    let (before, _) = text.rsplit_once("```")?;
    let (_, block) = before.rsplit_once("```")?;
    Some(block.strip_prefix("json").unwrap_or(block))
}

fn between(text: &str, open: char, close: char) -> Option<&str> {
    text.get(text.find(open)?..=text.rfind(close)?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::bare(r#"{"score": 7}"#)]
    #[case::fenced("Here it is:\n```json\n{\"score\": 7}\n```\nBye.")]
    #[case::fenced_without_a_name("```\n{\"score\": 7}\n```")]
    #[case::the_last_block("```json\n{\"score\": 1}\n```\nNo:\n```json\n{\"score\": 7}\n```")]
    #[case::in_prose(r#"Sure! {"score": 7} Does that help?"#)]
    fn json_is_found_in_what_models_say(#[case] text: &str) {
        assert_eq!(json_in(text), Some(json!({"score": 7})));
    }

    #[rstest]
    #[case("I would rather talk about the weather.")]
    #[case("")]
    #[case("} {")]
    #[case("{\"score\": 7")]
    fn where_there_is_none_none_is_found(#[case] text: &str) {
        assert_eq!(json_in(text), None);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_told_with_its_place() {
        let schema = json!({"type": "object", "required": ["score"], "properties": {"score": {"type": "integer"}}});
        let schema = OutputSchema::compile("answer", schema).unwrap();
        assert_eq!(schema.read(r#"{"score": 7}"#).await, Ok(json!({"score": 7})));
        let wrong = schema.read(r#"{"score": "seven"}"#).await.unwrap_err();
        assert!(wrong.starts_with("/score: ") && wrong.contains("integer"), "{wrong}");
        assert!(schema.read("prose").await.is_err());
    }

    #[test]
    fn a_schema_that_is_none_or_points_elsewhere_is_refused() {
        assert!(OutputSchema::compile("answer", json!({"type": "thing"})).is_err());
        assert!(OutputSchema::compile("answer", json!({"$ref": "http://169.254.169.254/secret"})).is_err());
    }
}
