//! One request of ours, and what each dialect makes of it. The golden files are in `fixtures/<provider>`.

use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_core::model::{ModelRequest, Parameters};
use agent_pod_core::tool::ToolSpec;
use agent_pod_infra::model::chat_completions::Dialect;
use agent_pod_infra::model::chat_completions::request::{first_free_call, translate};
use rstest::rstest;
use serde_json::{Map, Value, json};

fn bare() -> ModelRequest {
    ModelRequest {
        model: "gpt-4o-mini".to_owned(),
        messages: vec![Message::new(Role::System, "You are terse."), Message::new(Role::User, "Where is order 7?")],
        tools: Vec::new(),
        parameters: Parameters::default(),
    }
}

fn call(id: &str, arguments: Value) -> ToolCall {
    ToolCall { id: id.to_owned(), name: "get_order".to_owned(), arguments }
}

fn asking(content: &str, calls: Vec<ToolCall>) -> Message {
    Message { tool_calls: calls, ..Message::new(Role::Assistant, content) }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Everything that a request can hold.
fn full() -> ModelRequest {
    let mut request = bare();
    request.messages.extend([
        asking("", vec![call("call_a", json!({"id": 7, "note": "ü \"quoted\""})), call("call_b", json!({}))]),
        Message::tool_result("call_a", r#"{"status": "shipped"}"#),
        Message::tool_result("call_b", "error: no id given"),
        asking("Let me look again.", vec![call("call_c", json!("{\"id\": 7"))]),
        Message::tool_result("call_c", "error: the arguments are not JSON"),
        Message::new(Role::Assistant, "It arrives on Friday."),
        Message::new(Role::User, "Thanks."),
        Message::new(Role::Assistant, ""),
    ]);
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]});
    request.tools = vec![
        ToolSpec { name: "get_order".to_owned(), description: "Looks up an order".to_owned(), parameters: schema },
        ToolSpec { name: "ping".to_owned(), description: String::new(), parameters: Value::Null },
    ];
    let extra = json!({"user": "u-1", "temperature": 0.9, "logit_bias": {"50256": -100}});
    request.parameters = Parameters {
        temperature: Some(0.2),
        top_p: Some(0.95),
        max_tokens: Some(256),
        stop: vec!["END".to_owned()],
        seed: Some(-42),
        extra: object(&extra),
    };
    request
}

#[rstest]
#[case::openai("fixtures/openai", Dialect::OpenAiCompat)]
#[case::llamacpp("fixtures/llamacpp", Dialect::LlamaCpp)]
fn a_request_becomes_the_golden_json(#[case] folder: &str, #[case] dialect: Dialect) {
    insta::with_settings!({ snapshot_path => folder, prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_json_snapshot!("request_bare", translate(&bare(), dialect));
        insta::assert_json_snapshot!("request_full", translate(&full(), dialect));
    });
}

#[rstest]
fn what_is_absent_is_not_named(#[values(Dialect::OpenAiCompat, Dialect::LlamaCpp)] dialect: Dialect) {
    let body = translate(&bare(), dialect);
    for name in ["tools", "tool_choice", "temperature", "top_p", "max_tokens", "stop", "seed"] {
        assert_eq!(body.get(name), None, "{name}");
    }
    assert!(!body.to_string().contains("null"), "{body}");
}

#[rstest]
fn the_vendors_own_parameters_win(#[values(Dialect::OpenAiCompat, Dialect::LlamaCpp)] dialect: Dialect) {
    let mut request = full();
    let extra = json!({"max_tokens": 1, "stream_options": null, "max_completion_tokens": 9, "cache_prompt": false});
    request.parameters.extra = object(&extra);
    let body = translate(&request, dialect);
    for (name, value) in &request.parameters.extra {
        assert_eq!(body.get(name), Some(value), "as written: {name}");
    }
}

#[test]
fn numbers_that_json_cannot_write_are_left_out() {
    let mut request = bare();
    request.parameters.temperature = Some(f64::NAN);
    request.parameters.top_p = Some(f64::INFINITY);
    let body = translate(&request, Dialect::OpenAiCompat);
    assert_eq!((body.get("temperature"), body.get("top_p")), (None, None));
}

#[test]
fn arguments_are_json_text_whatever_the_model_wrote() {
    for arguments in [json!({}), json!({"a": [1, null]}), json!("not { json"), json!(null)] {
        let mut request = bare();
        request.messages.push(asking("", vec![call("c", arguments.clone())]));
        let body = translate(&request, Dialect::LlamaCpp);
        let text = body.pointer("/messages/2/tool_calls/0/function/arguments").and_then(Value::as_str).unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), arguments);
    }
}

#[rstest]
#[case::no_calls(&[], 1)]
#[case::ids_of_the_server(&["call_abc", "x1", "call_"], 1)]
#[case::made_up_before(&["call_1", "call_12", "call_3"], 13)]
#[case::the_largest_number(&["call_18446744073709551615"], u64::MAX)]
fn made_up_ids_never_repeat_one_of_the_conversation(#[case] ids: &[&str], #[case] expected: u64) {
    let mut request = bare();
    request.messages.extend(ids.iter().map(|id| asking("", vec![call(id, json!({}))])));
    assert_eq!(first_free_call(&request), expected);
}
