//! Runs that come by the chat completions door: the caller keeps the conversation and may carry out tools of its own.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::agent::ConversationMemory;
use agent_pod_core::error::ErrorCode;
use agent_pod_core::event::{ChatRequest, Finish, TurnEvent, TurnRequest};
use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Window,
};
use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_core::model::{ModelEvent, ResponseFormat, ToolChoice};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel};
use agent_pod_core::tool::ToolSpec;
use async_trait::async_trait;
use serde_json::json;

use crate::fixture::{Fixture, ask, conversations, events, streamed};

fn tool(name: &str) -> ToolSpec {
    ToolSpec { name: name.to_owned(), description: String::new(), parameters: json!({"type": "object"}) }
}

fn asks_for(names: &[&str]) -> Vec<Scripted> {
    let call = |name: &&str| ToolCall { id: format!("id-{name}"), name: (*name).to_owned(), arguments: json!({}) };
    names.iter().map(|name| Scripted::Event(ModelEvent::ToolCall(call(name)))).collect()
}

fn chat(chat: ChatRequest) -> TurnRequest {
    let messages =
        vec![Message::new(Role::User, "before"), Message::new(Role::Assistant, "well"), Message::new(Role::User, "hi")];
    TurnRequest { chat: Some(Box::new(ChatRequest { messages, ..chat })), ..ask("hi") }
}

#[tokio::test]
async fn the_callers_conversation_takes_the_place_of_memory() {
    struct Untouched;
    #[async_trait]
    impl ConversationStore for Untouched {
        async fn lock(&self, _: &SessionKey) -> Result<SessionLock, StoreError> {
            panic!("memory was asked")
        }
        async fn read(&self, _: &SessionKey, _: Window) -> Result<Option<Conversation>, StoreError> {
            panic!("memory was read")
        }
        async fn append(
            &self,
            _: &SessionKey,
            _: StoredTurn,
            _: ConversationSettings,
            _: &SessionLock,
        ) -> Result<(), StoreError> {
            panic!("memory was written")
        }
        async fn fold(&self, _: &SessionKey, _: Fold) -> Result<bool, StoreError> {
            panic!("memory was summed up")
        }
        async fn delete(&self, _: &SessionKey) -> Result<Option<u64>, StoreError> {
            panic!("memory was deleted")
        }
    }
    let model = ScriptedModel::new([ScriptedModel::text("Hello.")]);
    let settings = ConversationSettings { turns_max: 5, ttl: Duration::from_secs(60) };
    let fixture = Fixture::new([("only", model.clone())]).memory(conversations(ConversationMemory {
        store: Arc::new(Untouched),
        settings,
        strategy: agent_pod_core::memory::Strategy::SlidingWindow { turns_max: 5 },
    }));
    let request = chat(ChatRequest { system: vec!["Answer in French.".to_owned()], ..ChatRequest::default() });
    fixture.agent().start(request, RunOptions::default(), ()).answer().await.unwrap();
    let sent: Vec<_> = model.requests()[0].messages.iter().map(|m| (m.role, m.content.clone())).collect();
    let expected = [
        (Role::System, "Be kind.\n\nAnswer in French."),
        (Role::User, "before"),
        (Role::Assistant, "well"),
        (Role::User, "hi"),
    ];
    assert_eq!(sent, expected.map(|(role, text)| (role, text.to_owned())));
}

#[tokio::test]
async fn a_run_ends_with_the_calls_of_the_callers_tools() {
    let model = ScriptedModel::new([Ok(asks_for(&["upper", "show_chart"]))]);
    let fixture = Fixture::new([("only", model.clone())]).tools();
    let request = chat(ChatRequest {
        tools: vec![tool("show_chart")],
        tool_choice: Some(ToolChoice::Required),
        ..ChatRequest::default()
    });
    let seen = events(fixture.agent().start(request, streamed(), ())).await;
    let TurnEvent::Done(answer) = seen.last().unwrap() else { panic!("{seen:?}") };
    let calls: Vec<_> = answer.client_calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!((calls, answer.finish, answer.steps.len()), (vec!["show_chart"], Finish::Stop, 0));
    let sent = &model.requests()[0];
    let names: Vec<_> = sent.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!((names, sent.tool_choice.clone()), (vec!["broken", "upper", "show_chart"], Some(ToolChoice::Required)));
}

#[tokio::test]
async fn a_choice_of_tools_holds_for_the_first_call_only() {
    let model = ScriptedModel::new([Ok(asks_for(&["upper"])), ScriptedModel::text("Done.")]);
    let fixture = Fixture::new([("only", model.clone())]).tools();
    let request = chat(ChatRequest {
        tool_choice: Some(ToolChoice::Required),
        response_format: Some(ResponseFormat::JsonObject),
        ..ChatRequest::default()
    });
    fixture.agent().start(request, RunOptions::default(), ()).answer().await.unwrap();
    let choices: Vec<_> = model.requests().into_iter().map(|sent| (sent.tool_choice, sent.response_format)).collect();
    let format = Some(ResponseFormat::JsonObject);
    assert_eq!(choices, [(Some(ToolChoice::Required), format.clone()), (None, format)]);
}

#[tokio::test]
async fn a_tool_of_the_caller_with_the_name_of_one_of_the_agents_is_refused() {
    let fixture = Fixture::new([("only", ScriptedModel::new([]))]).tools();
    let request = chat(ChatRequest { tools: vec![tool("upper")], ..ChatRequest::default() });
    let error = fixture.agent().start(request, RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!((error.code, error.problems[0].path.as_str()), (ErrorCode::ValidationFailed, "tools"));
}
