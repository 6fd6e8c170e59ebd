use agent_pod_core::access::{AccessPolicy, Caller};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{RunAnswer, TurnEvent, TurnRequest};
use agent_pod_core::message::ToolCall;
use agent_pod_core::model::{ResponseFormat, ToolChoice};
use agent_pod_core::service::AgentHandle;
use axum::body::Body;
use axum::http::Request;
use rstest::rstest;
use serde_json::{Value, json};

use crate::client::{call, get, post, with_header};
use crate::fake::{BODY_BYTES_MAX, FakeAgents, agent, answer, done, namespace};

const CHAT: &str = "/v1/chat/completions";
const FULL: &str = include_str!("fixtures/chat_request.json");

/// The smallest request, with these fields besides.
fn request(more: &Value) -> Value {
    let mut body = json!({"model": "support", "messages": [{"role": "user", "content": "Where is order 7?"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn ask(body: &Value) -> Request<Body> {
    post(CHAT, body.to_string())
}

/// An agent that takes bodies of any length.
fn roomy() -> std::sync::Arc<FakeAgents> {
    FakeAgents::new([AgentHandle { body_bytes_max: 1 << 20, ..agent("support", AccessPolicy::Open) }])
}

/// What the agent is asked.
async fn asked(body: &Value) -> TurnRequest {
    let agents = roomy();
    agents.play([done("ok")]);
    let answer = call(&agents, ask(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (name, request, _options) = agents.starts().remove(0);
    assert_eq!(name, "support");
    request
}

/// The answer of an agent that answers so, with a time that stands still.
async fn answered(answer: RunAnswer) -> Value {
    let agents = roomy();
    agents.play([TurnEvent::Done(Box::new(answer))]);
    let reply = call(&agents, ask(&request(&json!({})))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-run-id"), Some("run-1"));
    let mut body = reply.json();
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    body["created"] = json!(0);
    body
}

fn client_calls() -> Vec<ToolCall> {
    let call = |id: &str, name: &str, arguments| ToolCall { id: id.to_owned(), name: name.to_owned(), arguments };
    vec![call("call_1", "get_order", json!({"id": 7})), call("call_2", "ping", json!("{\"cut"))]
}

#[tokio::test]
async fn everything_that_a_request_may_hold_reaches_the_agent() {
    insta::assert_debug_snapshot!(asked(&serde_json::from_str(FULL).unwrap()).await);
}

#[tokio::test]
async fn the_question_is_what_the_user_has_said_last() {
    let messages = json!([
        {"role": "user", "content": "One?"},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "n", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "1", "content": "three"},
    ]);
    let turn = asked(&request(&json!({"messages": messages}))).await;
    assert_eq!(turn.query, "Two?");
    assert_eq!(turn.chat.unwrap().messages.len(), 4);
}

#[rstest]
#[case::auto(json!("auto"), Some(ToolChoice::Auto))]
#[case::none(json!("none"), Some(ToolChoice::None))]
#[case::required(json!("required"), Some(ToolChoice::Required))]
#[case::null(json!(null), None)]
#[tokio::test]
async fn tools_are_chosen_by_a_word(#[case] choice: Value, #[case] expected: Option<ToolChoice>) {
    assert_eq!(asked(&request(&json!({"tool_choice": choice}))).await.chat.unwrap().tool_choice, expected);
}

#[rstest]
#[case::text(json!({"type": "text"}), None)]
#[case::object(json!({"type": "json_object"}), Some(ResponseFormat::JsonObject))]
#[tokio::test]
async fn answers_have_a_form(#[case] format: Value, #[case] expected: Option<ResponseFormat>) {
    assert_eq!(asked(&request(&json!({"response_format": format}))).await.chat.unwrap().response_format, expected);
}

#[rstest]
#[case::one(json!("END"), &["END"])]
#[case::four(json!(["a", "b", "c", "d"]), &["a", "b", "c", "d"])]
#[case::none(json!([]), &[])]
#[tokio::test]
async fn answers_end_at_texts(#[case] stop: Value, #[case] expected: &[&str]) {
    assert_eq!(asked(&request(&json!({"stop": stop}))).await.chat.unwrap().parameters.stop, expected);
}

/// A schema of the caller's own that no server could make a grammar of.
fn doubling() -> Value {
    let defs: serde_json::Map<String, Value> = (0..40)
        .map(|step| {
            let next = json!({"$ref": format!("#/$defs/s{}", step + 1)});
            (format!("s{step}"), json!({"allOf": [next, next]}))
        })
        .chain([("s40".to_owned(), json!({}))])
        .collect();
    json!({"type": "object", "$defs": defs, "$ref": "#/$defs/s0"})
}

#[rstest]
#[case::no_object(json!([]), &["$"])]
#[case::nothing(json!({}), &["model", "messages"])]
#[case::model_number(request(&json!({"model": 1})), &["model"])]
#[case::no_messages(request(&json!({"messages": []})), &["messages"])]
#[case::messages_text(request(&json!({"messages": "hi"})), &["messages"])]
#[case::only_system(request(&json!({"messages": [{"role": "system", "content": "s"}]})), &["messages"])]
#[case::roles(request(&json!({"messages": [1, {"role": "robot"}, {"content": "x"}, {"role": "user"}]})),
    &["messages[0]", "messages[1].role", "messages[2].role", "messages[3].content"])]
#[case::content(request(&json!({"messages": [{"role": "user", "content": 1}, {"role": "user", "content": [1, {"type": "text"}, {}]}]})),
    &["messages[0].content", "messages[1].content[0]", "messages[1].content[1].text", "messages[1].content[2].type"])]
#[case::images(request(&json!({"messages": [{"role": "user", "content": [
        {"type": "image_url"}, {"type": "image_url", "image_url": {}}, {"type": "image_url", "image_url": {"url": "file:///x"}},
        {"type": "image_url", "image_url": "x"}, {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data/"}},
        {"type": "image_url", "image_url": "http://localhost:6379/"}]}]})),
    &["messages[0].content[0].image_url", "messages[0].content[1].image_url.url", "messages[0].content[2].image_url.url",
      "messages[0].content[3].image_url", "messages[0].content[4].image_url.url", "messages[0].content[5].image_url"])]
#[case::assistant(request(&json!({"messages": [{"role": "assistant"}, {"role": "assistant", "tool_calls": [{}]}]})),
    &["messages[0].content", "messages[1].tool_calls[0].id", "messages[1].tool_calls[0].function"])]
#[case::tool(request(&json!({"messages": [{"role": "tool"}]})), &["messages[0].tool_call_id", "messages[0].content"])]
#[case::tools(request(&json!({"tools": [{}, {"type": "custom"}, {"type": "function", "function": {"name": "a b"}},
        {"type": "function", "function": {"name": "a", "parameters": []}}, {"type": "function", "function": {"name": "a"}}]})),
    &["tools[0].type", "tools[1].type", "tools[2].function.name", "tools[3].function.parameters", "tools[4].function.name"])]
#[case::long_name(request(&json!({"tools": [{"type": "function", "function": {"name": "a".repeat(65)}}]})), &["tools[0].function.name"])]
#[case::too_many_tools(request(&json!({"tools": vec![1; 129]})), &["tools"])]
#[case::choice(request(&json!({"tool_choice": "some"})), &["tool_choice"])]
#[case::choice_of_unknown(request(&json!({"tool_choice": {"type": "function", "function": {"name": "a"}}})), &["tool_choice"])]
#[case::format(request(&json!({"response_format": {"type": "xml"}})), &["response_format.type"])]
#[case::a_schema_that_doubles(request(&json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": doubling()}}})),
    &["response_format.json_schema.schema"])]
#[case::a_tool_that_doubles(request(&json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": doubling()}}]})),
    &["tools[0].function.parameters"])]
#[case::schema(request(&json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": 1}}})),
    &["response_format.json_schema.schema", "response_format.json_schema.strict"])]
#[case::numbers(request(&json!({"temperature": 3, "top_p": -1, "max_tokens": 0, "seed": 0.5, "presence_penalty": "x"})),
    &["presence_penalty", "max_tokens", "temperature", "top_p", "seed"])]
#[case::stops(request(&json!({"stop": ["a", "b", "c", "d", "e"]})), &["stop"])]
#[case::empty_stop(request(&json!({"stop": ""})), &["stop"])]
#[case::n(request(&json!({"n": 2})), &["n"])]
#[case::deprecated(request(&json!({"functions": [], "function_call": "auto"})), &["functions", "function_call"])]
#[case::stream(request(&json!({"stream": 1, "stream_options": {"include_usage": 1}})), &["stream", "stream_options.include_usage"])]
#[tokio::test]
async fn a_request_of_the_wrong_shape_is_422_with_every_problem(#[case] body: Value, #[case] paths: &[&str]) {
    let answer = call(&roomy(), ask(&body)).await;
    assert_eq!(answer.failure(), (422, "validation_failed".to_owned()), "{}", answer.text);
    let error = answer.json()["error"].clone();
    let named: Vec<_> = error["details"]["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["path"].as_str().unwrap())
        .collect();
    assert_eq!(named, paths);
    assert_eq!((&error["type"], error["param"].as_str()), (&json!("invalid_request_error"), Some(paths[0])));
}

#[rstest]
#[case::logprobs(request(&json!({"logprobs": true})), "logprobs")]
#[case::top_logprobs(request(&json!({"top_logprobs": 3})), "logprobs")]
#[case::audio(request(&json!({"audio": {"voice": "x"}})), "audio")]
#[case::modalities(request(&json!({"modalities": ["text", "audio"]})), "modalities")]
#[case::audio_part(request(&json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]})),
    "messages[0].content[0].type")]
#[case::file_part(request(&json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]})),
    "messages[0].content[0].type")]
#[case::image_of_the_system(request(&json!({"messages": [{"role": "user", "content": "q"}, {"role": "system",
        "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}]})), "messages[1].content[0].type")]
#[tokio::test]
async fn what_agents_do_not_take_is_400(#[case] body: Value, #[case] param: &str) {
    let answer = call(&roomy(), ask(&body)).await;
    assert_eq!(answer.failure(), (400, "unsupported_content".to_owned()), "{}", answer.text);
    assert_eq!(answer.json()["error"]["param"], param);
}

#[tokio::test]
async fn an_answer_is_a_chat_completion() {
    insta::assert_json_snapshot!(answered(answer("It arrives on Friday.")).await);
}

#[tokio::test]
async fn calls_of_the_callers_tools_are_tool_calls() {
    let answer = RunAnswer { client_calls: client_calls(), ..answer("") };
    insta::assert_json_snapshot!(answered(answer).await);
}

#[rstest]
#[case::whole(answer("a"), "stop")]
#[case::cut_off(RunAnswer { truncated: true, ..answer("a") }, "length")]
#[case::blocked(RunAnswer { blocked: true, ..answer("a") }, "content_filter")]
#[case::calls(RunAnswer { client_calls: client_calls(), ..answer("a") }, "tool_calls")]
#[tokio::test]
async fn a_completion_tells_why_it_ended(#[case] run: RunAnswer, #[case] reason: &str) {
    let body = answered(run).await;
    assert_eq!(body["choices"][0]["finish_reason"], reason);
    assert_eq!(body["choices"][0]["message"]["content"], "a");
}

#[tokio::test]
async fn an_empty_answer_without_calls_is_an_empty_text() {
    assert_eq!(answered(answer("")).await["choices"][0]["message"]["content"], "");
}

#[tokio::test]
async fn headers_shape_the_run_as_at_the_run_door() {
    let agents = FakeAgents::new([agent("support", namespace("shop"))]);
    agents.play([done("ok")]);
    let headers = [
        ("authorization", "Bearer shop/web"),
        ("idempotency-key", "k-1"),
        ("x-request-timeout-ms", "1500"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let request =
        headers.into_iter().fold(ask(&request(&json!({}))), |request, (name, value)| with_header(request, name, value));
    assert_eq!(call(&agents, request).await.status, 200);
    let options = agents.starts().remove(0).2;
    assert_eq!(options.caller, Some(Caller { namespace: "shop".to_owned(), service_account: "web".to_owned() }));
    assert_eq!(options.idempotency.unwrap().key, "k-1");
    assert_eq!(options.timeout.unwrap().as_millis(), 1500);
    assert_eq!(options.trace_id.unwrap(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(!options.streaming);
}

#[tokio::test]
async fn bad_headers_are_problems_beside_those_of_the_body() {
    let request = with_header(ask(&request(&json!({"n": 2}))), "idempotency-key", "a b");
    let problems = call(&roomy(), request).await.json()["error"]["details"]["problems"].clone();
    assert_eq!((&problems[0]["path"], &problems[1]["path"]), (&json!("n"), &json!("Idempotency-Key")));
}

#[tokio::test]
async fn an_unknown_model_is_404_with_its_field() {
    let answer = call(&FakeAgents::support(), ask(&request(&json!({"model": "gpt-4o"})))).await;
    assert_eq!(answer.failure(), (404, "agent_not_found".to_owned()));
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["param"]), (&json!("not_found_error"), &json!("model")));
}

#[tokio::test]
async fn an_agent_whose_door_is_shut_is_not_there() {
    let shut = AgentHandle { openai: false, ..agent("support", AccessPolicy::Open) };
    let agents = FakeAgents::new([shut, agent("other", AccessPolicy::Open)]);
    assert_eq!(call(&agents, ask(&request(&json!({})))).await.failure(), (404, "agent_not_found".to_owned()));
    assert_eq!(call(&agents, get("/v1/models/support")).await.failure(), (404, "agent_not_found".to_owned()));
    let list = call(&agents, get("/v1/models")).await.json();
    let model = json!({"id": "other", "object": "model", "created": 0, "owned_by": "astromesh"});
    assert_eq!(list, json!({"object": "list", "data": [model]}));
    assert_eq!(call(&agents, get("/v1/models/other")).await.json(), model);
    assert_eq!(call(&agents, get("/v1/agents/support")).await.status, 200);
}

#[rstest]
#[case::no_token(None, 401, "authentication_error")]
#[case::other_namespace(Some("Bearer bank/web"), 403, "permission_error")]
#[tokio::test]
async fn a_refused_caller_learns_nothing_of_body_or_model(
    #[case] authorization: Option<&str>,
    #[case] status: u16,
    #[case] kind: &str,
) {
    let agents = FakeAgents::new([agent("support", namespace("shop"))]);
    for request in
        [post(CHAT, "nonsense"), ask(&request(&json!({"model": "nobody"}))), get("/v1/models"), get("/v1/models/x")]
    {
        let request =
            authorization.into_iter().fold(request, |request, value| with_header(request, "authorization", value));
        let answer = call(&agents, request).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["error"]["type"], kind);
    }
}

#[tokio::test]
async fn models_are_those_that_the_caller_may_call() {
    let agents = FakeAgents::new([agent("audit", namespace("bank")), agent("support", namespace("shop"))]);
    let list = call(&agents, with_header(get("/v1/models"), "authorization", "Bearer shop/web")).await.json();
    assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["id"]), (1, &json!("support")));
    let other = ask(&request(&json!({"model": "audit"})));
    let answer = call(&agents, with_header(other, "authorization", "Bearer shop/web")).await;
    assert_eq!(answer.failure(), (403, "forbidden".to_owned()));
}

#[tokio::test]
async fn a_body_may_be_as_long_as_the_agent_takes_and_not_as_another_does() {
    let large = AgentHandle { body_bytes_max: 4 * BODY_BYTES_MAX, ..agent("large", AccessPolicy::Open) };
    let agents = FakeAgents::new([agent("support", AccessPolicy::Open), large]);
    let body = |model: &str, length: usize| {
        request(&json!({"model": model, "messages": [{"role": "user", "content": "x".repeat(length)}]}))
    };
    agents.play([done("ok")]);
    assert_eq!(call(&agents, ask(&body("large", 2 * BODY_BYTES_MAX))).await.status, 200);
    for (model, length) in [("support", 2 * BODY_BYTES_MAX), ("large", 5 * BODY_BYTES_MAX)] {
        let answer = call(&agents, ask(&body(model, length))).await;
        assert_eq!(answer.failure(), (413, "body_too_large".to_owned()), "{model}");
    }
}

#[rstest]
#[case::not_json(400, "invalid_json", post(CHAT, "hello"))]
#[case::other_type(415, "unsupported_media_type", Request::post(CHAT).header("content-type", "text/plain").body(Body::empty()).unwrap())]
#[tokio::test]
async fn a_body_that_is_no_json_is_refused(#[case] status: u16, #[case] code: &str, #[case] request: Request<Body>) {
    let answer = call(&roomy(), request).await;
    assert_eq!(answer.failure(), (status, code.to_owned()));
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
}

#[rstest]
#[case(ErrorCode::Overloaded, 429, "rate_limit_error")]
#[case(ErrorCode::IdempotencyMismatch, 422, "invalid_request_error")]
#[case(ErrorCode::AllProvidersFailed, 502, "api_error")]
#[case(ErrorCode::Suspended, 503, "api_error")]
#[case(ErrorCode::DeadlineExceeded, 504, "api_error")]
#[tokio::test]
async fn a_failed_run_is_the_error_of_every_door_with_type_and_param(
    #[case] code: ErrorCode,
    #[case] status: u16,
    #[case] kind: &str,
    #[values(false, true)] stream: bool,
    #[values(false, true)] at_once: bool,
) {
    let agents = roomy();
    let error = RunError::new(code, "no").retry_after(std::time::Duration::from_millis(1500));
    if at_once {
        agents.refuse(error)
    } else {
        agents.play([TurnEvent::Error(Box::new(error))])
    }
    let answer = call(&agents, ask(&request(&json!({"stream": stream})))).await;
    assert_eq!(answer.failure(), (status, code.as_str().to_owned()));
    assert_eq!(answer.header("retry-after"), Some("2"));
    let run_id = (!at_once).then_some("run-1");
    assert_eq!(answer.header("x-run-id"), run_id);
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["param"], error["runId"].as_str()), (&json!(kind), &json!(null), run_id));
    assert_eq!(error["retryable"], code.retryable());
}
