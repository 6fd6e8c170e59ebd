//! One request of ours, and what Ollama's protocol makes of it. The golden files are in `fixtures/ollama`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agent_pod_core::message::{Message, Role};
use agent_pod_core::model::{ModelError, ModelErrorKind, ResponseFormat, ToolChoice};
use agent_pod_infra::model::ollama::request::translate;
use rstest::rstest;
use serde_json::{Value, json};
use support::{Asked, asking, call, object};

#[rstest]
#[case("request_bare", Asked::bare())]
#[case("request_full", Asked::full())]
#[case("request_rich", Asked::rich())]
#[case("request_schema", Asked::schema())]
fn a_request_becomes_the_golden_json(#[case] name: &str, #[case] asked: Asked) {
    insta::with_settings!({ snapshot_path => "fixtures/ollama", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_json_snapshot!(name, translate(&asked.request()).unwrap());
    });
}

#[test]
fn what_is_absent_is_not_named() {
    let body = translate(&Asked::bare().request()).unwrap();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["model", "messages", "stream"]);
}

#[rstest]
#[case::none(ToolChoice::None, &[])]
#[case::auto(ToolChoice::Auto, &["get_order", "ping"])]
#[case::required(ToolChoice::Required, &["get_order", "ping"])]
#[case::named(ToolChoice::Named("ping".to_owned()), &["ping"])]
#[case::named_but_gone(ToolChoice::Named("gone".to_owned()), &[])]
fn only_tools_that_may_be_called_are_offered(#[case] choice: ToolChoice, #[case] expected: &[&str]) {
    let body = translate(&Asked { tool_choice: Some(choice), ..Asked::full() }.request()).unwrap();
    let tools = body.get("tools").and_then(Value::as_array);
    let names: Vec<_> =
        tools.into_iter().flatten().map(|tool| tool.pointer("/function/name").unwrap().clone()).collect();
    assert_eq!(names, expected);
    assert_eq!(body.get("tools").is_some(), !expected.is_empty(), "no empty list");
    assert_eq!(body.get("tool_choice"), None);
}

#[rstest]
#[case::any_object(ResponseFormat::JsonObject, json!("json"))]
#[case::a_schema(
    ResponseFormat::JsonSchema { name: "x".to_owned(), schema: json!({"type": "array"}), strict: None },
    json!({"type": "array"})
)]
fn the_form_of_the_reply_is_native(#[case] format: ResponseFormat, #[case] expected: Value) {
    let body = translate(&Asked { response_format: Some(format), ..Asked::bare() }.request()).unwrap();
    assert_eq!(body["format"], expected);
}

#[rstest]
#[case::merged(json!({"options": {"num_ctx": 8192, "seed": 1}, "think": true}), json!({"temperature": 0.2, "top_p": 0.95, "num_predict": 256, "stop": ["END"], "seed": 1, "num_ctx": 8192}))]
#[case::replaced_by_what_is_no_object(json!({"options": 7}), json!(7))]
fn the_vendors_own_parameters_win(#[case] extra: Value, #[case] options: Value) {
    let mut asked = Asked::full();
    asked.parameters.extra = object(&extra);
    let body = translate(&asked.request()).unwrap();
    assert_eq!(body["options"], options);
    assert_eq!(body.get("think"), extra.get("think"));
}

#[rstest]
#[case::fetched("https://host/a.png", "Ollama fetches no images: send each as a data URL")]
#[case::a_path("a.png", "Ollama fetches no images: send each as a data URL")]
#[case::not_base64("data:image/svg+xml,%3Csvg/%3E", "an image's data URL must be `data:<media type>;base64,<data>`")]
#[case::without_data("data:image/png;base64", "an image's data URL must be `data:<media type>;base64,<data>`")]
fn an_image_that_cannot_be_sent_rejects_the_request(#[case] url: &str, #[case] phrase: &str) {
    let mut asked = Asked::bare();
    asked.messages.push(Message { images: vec![url.to_owned()], ..Message::new(Role::User, "?") });
    assert_eq!(translate(&asked.request()), Err(ModelError::new(ModelErrorKind::Rejected, phrase)));
}

#[rstest]
#[case(json!({"a": 1}), json!({"a": 1}))]
#[case(json!(null), json!({}))]
#[case(json!("{\"a\": "), json!({"arguments": "{\"a\": "}))]
fn arguments_are_an_object_whatever_the_model_wrote(#[case] arguments: Value, #[case] expected: Value) {
    let mut asked = Asked::bare();
    asked.messages.push(asking("", vec![call("c", arguments)]));
    let body = translate(&asked.request()).unwrap();
    assert_eq!(body.pointer("/messages/2/tool_calls/0/function/arguments"), Some(&expected));
}
