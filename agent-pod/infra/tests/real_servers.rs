//! The adapters against servers that nobody here has written: a mock of many vendors' APIs and the server of llama.cpp.
//!
//! `make unit` starts both. `ASTROMESH_TEST_MOCK_LLM` and `ASTROMESH_TEST_LLAMA` hold their base URLs; without one its
//! tests are left out with a message, but not in CI.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, reason = "where the servers are is in the environment")]
#![expect(clippy::print_stderr, reason = "a test that was left out says so")]

mod support;

use std::time::Duration;

use agent_pod_core::embedding::Embedder as _;
use agent_pod_core::message::{Message, Role};
use agent_pod_core::model::{FinishReason, Model, ModelErrorKind, ModelEvent, ResponseFormat, ToolChoice};
use agent_pod_core::tool::ToolSpec;
use agent_pod_core::usage::Tokens;
use agent_pod_infra::model::chat_completions::{ChatCompletions, Dialect};
use agent_pod_infra::model::embeddings::{Embeddings, EmbeddingsProtocol};
use agent_pod_infra::model::ollama::Ollama;
use agent_pod_infra::model::server::ServerSettings;
use rstest::rstest;
use serde_json::{Value, json};
use support::{Asked, events, install_crypto};

/// Which adapter is meant; `None`: Ollama's.
type Protocol = Option<Dialect>;

/// The base URL in an environment variable; `None`: the test is to be left out.
fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set; `make unit` sets it");
        eprintln!("left out: {variable} is not set; `make unit` starts the server and sets it");
    }
    url
}

fn adapter(endpoint: String, protocol: Protocol) -> Box<dyn Model> {
    install_crypto();
    let connect_timeout = Duration::from_secs(10);
    let settings = ServerSettings { endpoint, auth: None, headers: Vec::new(), tls: None, connect_timeout };
    match protocol {
        Some(dialect) => Box::new(ChatCompletions::new(dialect, &settings).unwrap()),
        None => Box::new(Ollama::new(&settings).unwrap()),
    }
}

fn mock(protocol: Protocol) -> Option<Box<dyn Model>> {
    server("ASTROMESH_TEST_MOCK_LLM").map(|url| adapter(url, protocol))
}

fn llama() -> Option<Box<dyn Model>> {
    server("ASTROMESH_TEST_LLAMA").map(|url| adapter(url, Some(Dialect::LlamaCpp)))
}

fn asked(text: &str) -> Asked {
    let messages = vec![Message::new(Role::System, "You are terse."), Message::new(Role::User, text)];
    Asked { model: "smollm2-135m-instruct".to_owned(), messages, ..Asked::default() }
}

/// A whole reply without an error.
async fn reply(model: &dyn Model, asked: &Asked) -> Vec<ModelEvent> {
    let reply = events(model.call(&asked.request()).await.unwrap()).await;
    reply.into_iter().map(Result::unwrap).collect()
}

fn text(reply: &[ModelEvent]) -> String {
    reply
        .iter()
        .filter_map(|event| if let ModelEvent::Content(text) = event { Some(text.as_str()) } else { None })
        .collect()
}

fn tokens(reply: &[ModelEvent]) -> Option<Tokens> {
    reply.iter().rev().find_map(|event| if let ModelEvent::Tokens(tokens) = event { Some(*tokens) } else { None })
}

fn order_tools() -> Vec<ToolSpec> {
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]});
    vec![
        ToolSpec { name: "get_order".to_owned(), description: "Looks up an order".to_owned(), parameters: schema },
        ToolSpec { name: "ping".to_owned(), description: String::new(), parameters: Value::Null },
    ]
}

#[rstest]
#[tokio::test]
async fn the_mock_streams_a_text(
    #[values(Some(Dialect::OpenAiCompat), Some(Dialect::Vllm), Some(Dialect::HfTgi), None)] protocol: Protocol,
) {
    let Some(model) = mock(protocol) else { return };
    let reply = reply(&*model, &asked("say hello")).await;
    assert_eq!(text(&reply), "Hello from the mock, in several pieces.");
    assert!(reply.len() > 3, "it came in pieces: {reply:?}");
    assert!(tokens(&reply).is_some(), "what it used is told: {reply:?}");
    if protocol.is_some() {
        assert_eq!(tokens(&reply), Some(Tokens { input: 11, output: 7, cached: 0 }));
    }
}

#[rstest]
#[tokio::test]
async fn the_mock_asks_for_tools_and_takes_their_results(
    #[values(Some(Dialect::OpenAiCompat), Some(Dialect::Vllm), Some(Dialect::HfTgi), None)] protocol: Protocol,
) {
    let Some(model) = mock(protocol) else { return };
    let mut asked = Asked { tools: order_tools(), ..asked("where is order 7") };
    let calls: Vec<_> = reply(&*model, &asked)
        .await
        .into_iter()
        .filter_map(|event| if let ModelEvent::ToolCall(call) = event { Some(call) } else { None })
        .collect();
    let told: Vec<_> = calls.iter().map(|call| (call.name.as_str(), &call.arguments)).collect();
    assert_eq!(told, [("get_order", &json!({"id": 7})), ("ping", &json!({}))]);
    assert!(!calls[0].id.is_empty() && calls[0].id != calls[1].id);
    let results = calls.iter().map(|call| Message::tool_result(&call.id, "shipped")).collect::<Vec<_>>();
    asked.messages.push(Message { tool_calls: calls, ..Message::new(Role::Assistant, "") });
    asked.messages.extend(results);
    assert_eq!(text(&reply(&*model, &asked).await), "Order 7 is shipped.");
}

#[tokio::test]
async fn the_mock_cuts_a_reply_short() {
    // Its Ollama side always says that a reply was whole.
    let Some(model) = mock(Some(Dialect::OpenAiCompat)) else { return };
    let reply = reply(&*model, &asked("cut short")).await;
    assert_eq!(reply.last(), Some(&ModelEvent::Finish(FinishReason::Length)), "{reply:?}");
}

#[rstest]
#[tokio::test]
async fn the_mock_lists_its_models(#[values(Some(Dialect::OpenAiCompat), None)] protocol: Protocol) {
    let Some(model) = mock(protocol) else { return };
    let models = model.models().await.unwrap();
    assert!(models.contains(&"gpt-4o".to_owned()) && models.is_sorted(), "{models:?}");
}

#[rstest]
#[tokio::test]
async fn a_question_that_the_mock_does_not_know_fails(#[values(Some(Dialect::OpenAiCompat), None)] protocol: Protocol) {
    let Some(model) = mock(protocol) else { return };
    let error = model.call(&asked("something else").request()).await.err().unwrap();
    assert_eq!((error.kind, error.message.as_str()), (ModelErrorKind::Unavailable, "503"));
}

#[tokio::test]
async fn llama_cpp_streams_a_text_and_counts_cached_tokens() {
    let Some(model) = llama() else { return };
    let mut asked = asked("Name one colour.");
    asked.parameters.max_tokens = Some(8);
    asked.parameters.seed = Some(1);
    let first = reply(&*model, &asked).await;
    assert!(!text(&first).is_empty(), "{first:?}");
    let used = tokens(&first).unwrap();
    assert!(used.input > 0 && used.output > 0 && used.output <= 8, "{used:?}");
    let again = tokens(&reply(&*model, &asked).await).unwrap();
    assert!(again.cached > 0, "the same beginning: {again:?}");
}

#[tokio::test]
async fn llama_cpp_says_when_a_reply_was_cut_short() {
    let Some(model) = llama() else { return };
    let mut asked = asked("Write a long story about the sea.");
    asked.parameters.max_tokens = Some(3);
    let reply = reply(&*model, &asked).await;
    assert_eq!(reply.last(), Some(&ModelEvent::Finish(FinishReason::Length)), "{reply:?}");
}

#[tokio::test]
async fn llama_cpp_keeps_to_a_schema() {
    let Some(model) = llama() else { return };
    let schema = json!({
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": false,
    });
    let format = ResponseFormat::JsonSchema { name: "answer".to_owned(), schema, strict: Some(true) };
    let mut asked = Asked { response_format: Some(format), ..asked("Which colour has grass?") };
    asked.parameters.max_tokens = Some(64);
    let reply = text(&reply(&*model, &asked).await);
    let answer: Value = serde_json::from_str(&reply).unwrap();
    assert!(matches!(answer["colour"].as_str(), Some("red" | "green")), "{answer}");
}

#[rstest]
#[tokio::test]
async fn llama_cpp_takes_tools_and_every_choice_of_them(
    #[values(
        ToolChoice::Auto,
        ToolChoice::None,
        ToolChoice::Required,
        ToolChoice::Named("get_order".to_owned())
    )]
    choice: ToolChoice,
) {
    let Some(model) = llama() else { return };
    let mut asked = Asked { tools: order_tools(), tool_choice: Some(choice), ..asked("Where is order 7?") };
    asked.parameters.max_tokens = Some(48);
    // Such a small model need not do as it is told: only the protocol is looked at.
    let stream = model.call(&asked.request()).await;
    assert!(stream.is_ok(), "{:?}", stream.err());
}

#[tokio::test]
async fn llama_cpp_takes_a_conversation_with_tools_and_thoughts() {
    let Some(model) = llama() else { return };
    let mut asked = Asked { tools: order_tools(), ..asked("Where is order 7?") };
    let call = support::call("call_a", json!({"id": 7}));
    asked.messages.push(Message {
        tool_calls: vec![call],
        reasoning: Some("I should look it up.".to_owned()),
        ..Message::new(Role::Assistant, "")
    });
    asked.messages.push(Message::tool_result("call_a", "shipped"));
    asked.tool_choice = Some(ToolChoice::None);
    asked.parameters.max_tokens = Some(8);
    assert!(!text(&reply(&*model, &asked).await).is_empty());
}

#[tokio::test]
async fn llama_cpp_rejects_a_request_that_is_too_long() {
    let Some(model) = llama() else { return };
    let error = model.call(&asked(&"word ".repeat(6000)).request()).await.err().unwrap();
    assert_eq!(error.kind, ModelErrorKind::Rejected, "{error}");
    assert!(error.message.starts_with("400: "), "{error}");
}

#[tokio::test]
async fn llama_cpp_lists_its_model() {
    let Some(model) = llama() else { return };
    let models = model.models().await.unwrap();
    assert_eq!(models.len(), 1, "{models:?}");
    assert!(models[0].to_lowercase().contains("smollm2"), "{models:?}");
}

#[tokio::test]
async fn the_mock_turns_texts_into_vectors() {
    let Some(endpoint) = server("ASTROMESH_TEST_MOCK_LLM") else { return };
    install_crypto();
    let connect_timeout = Duration::from_secs(10);
    let settings = ServerSettings { endpoint, auth: None, headers: Vec::new(), tls: None, connect_timeout };
    let model = Embeddings::new(EmbeddingsProtocol::OpenAi, "e".to_owned(), &settings).unwrap();
    let texts = ["a dog", "a dog, again"].map(str::to_owned);
    assert_eq!(model.embed(&texts).await.unwrap(), [[0.5, -0.25, 1.0], [0.5, -0.25, 1.0]]);
}
