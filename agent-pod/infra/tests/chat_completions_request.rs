//! One request of ours, and what each dialect makes of it. The golden files are in `fixtures/<provider>`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agent_pod_core::model::{ResponseFormat, ToolChoice};
use agent_pod_infra::model::chat_completions::Dialect;
use agent_pod_infra::model::chat_completions::request::translate;
use agent_pod_infra::model::first_free_call;
use rstest::rstest;
use serde_json::{Value, json};
use support::{Asked, asking, call, object};

use Dialect::{HfTgi, LlamaCpp, OpenAiCompat, Vllm};

#[rstest]
#[case::openai("fixtures/openai", OpenAiCompat)]
#[case::vllm("fixtures/vllm", Vllm)]
#[case::llamacpp("fixtures/llamacpp", LlamaCpp)]
#[case::hf_tgi("fixtures/hf_tgi", HfTgi)]
fn a_request_becomes_the_golden_json(#[case] folder: &str, #[case] dialect: Dialect) {
    insta::with_settings!({ snapshot_path => folder, prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_json_snapshot!("request_bare", translate(&Asked::bare().request(), dialect));
        insta::assert_json_snapshot!("request_full", translate(&Asked::full().request(), dialect));
        insta::assert_json_snapshot!("request_rich", translate(&Asked::rich().request(), dialect));
        insta::assert_json_snapshot!("request_schema", translate(&Asked::schema().request(), dialect));
    });
}

#[rstest]
fn what_is_absent_is_not_named(#[values(OpenAiCompat, Vllm, LlamaCpp, HfTgi)] dialect: Dialect) {
    let body = translate(&Asked::bare().request(), dialect);
    for name in ["tools", "tool_choice", "response_format", "temperature", "top_p", "max_tokens", "stop", "seed"] {
        assert_eq!(body.get(name), None, "{name}");
    }
    assert!(!body.to_string().contains("null"), "{body}");
}

#[rstest]
fn the_vendors_own_parameters_win(#[values(OpenAiCompat, Vllm, LlamaCpp, HfTgi)] dialect: Dialect) {
    let mut asked = Asked::full();
    let extra = json!({"max_tokens": 1, "stream_options": null, "max_completion_tokens": 9, "cache_prompt": false});
    asked.parameters.extra = object(&extra);
    let body = translate(&asked.request(), dialect);
    for (name, value) in &asked.parameters.extra {
        assert_eq!(body.get(name), Some(value), "as written: {name}");
    }
}

#[test]
fn numbers_that_json_cannot_write_are_left_out() {
    let mut asked = Asked::bare();
    asked.parameters.temperature = Some(f64::NAN);
    asked.parameters.top_p = Some(f64::INFINITY);
    let body = translate(&asked.request(), Dialect::OpenAiCompat);
    assert_eq!((body.get("temperature"), body.get("top_p")), (None, None));
}

#[test]
fn arguments_are_json_text_whatever_the_model_wrote() {
    for arguments in [json!({}), json!({"a": [1, null]}), json!("not { json"), json!(null)] {
        let mut asked = Asked::bare();
        asked.messages.push(asking("", vec![call("c", arguments.clone())]));
        let body = translate(&asked.request(), Dialect::LlamaCpp);
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
    let mut asked = Asked::bare();
    asked.messages.extend(ids.iter().map(|id| asking("", vec![call(id, json!({}))])));
    assert_eq!(first_free_call(&asked.request()), expected);
}

#[rstest]
#[case::auto(ToolChoice::Auto, json!("auto"))]
#[case::none(ToolChoice::None, json!("none"))]
#[case::required(ToolChoice::Required, json!("required"))]
#[case::named(ToolChoice::Named("ping".to_owned()), json!({"type": "function", "function": {"name": "ping"}}))]
fn a_choice_of_tools_is_told(#[case] choice: ToolChoice, #[case] expected: Value) {
    let asked = Asked { tool_choice: Some(choice.clone()), ..Asked::full() };
    for dialect in [OpenAiCompat, Vllm, HfTgi] {
        assert_eq!(translate(&asked.request(), dialect)["tool_choice"], expected, "{dialect:?}");
    }
    let named = matches!(choice, ToolChoice::Named(_));
    let body = translate(&asked.request(), LlamaCpp);
    assert_eq!(body["tool_choice"], if named { json!("required") } else { expected });
    let offered = body["tools"].as_array().unwrap();
    assert_eq!(offered.len(), if named { 1 } else { 2 });
}

#[rstest]
fn without_tools_there_is_no_choice(
    #[values(OpenAiCompat, Vllm, LlamaCpp, HfTgi)] dialect: Dialect,
    #[values(ToolChoice::Auto, ToolChoice::Required, ToolChoice::Named("gone".to_owned()))] choice: ToolChoice,
) {
    let asked = Asked { tool_choice: Some(choice), ..Asked::bare() };
    let body = translate(&asked.request(), dialect);
    assert_eq!((body.get("tools"), body.get("tool_choice")), (None, None));
}

#[rstest]
#[case::openai(OpenAiCompat, json!({"type": "json_object"}))]
#[case::hf_tgi(HfTgi, json!({"type": "json_object", "value": {"type": "object"}}))]
fn any_json_object_can_be_asked_for(#[case] dialect: Dialect, #[case] expected: Value) {
    let asked = Asked { response_format: Some(ResponseFormat::JsonObject), ..Asked::bare() };
    assert_eq!(translate(&asked.request(), dialect)["response_format"], expected);
}
