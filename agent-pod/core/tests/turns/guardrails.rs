//! Turns that are held against guardrails, through the public interface.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fixture::{Fixture, ask, content, conversations, events, streamed};
use agent_pod_core::agent::ConversationMemory;
use agent_pod_core::event::{ChatRequest, Finish, Handoff, RunAnswer, TurnEvent, TurnRequest};
use agent_pod_core::guardrail::{Action, CheckSettings, Entity, Rule, RuleSettings};
use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Strategy, Window,
};
use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_core::model::{ModelEvent, ResponseFormat};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel};
use agent_pod_core::tool::ToolSpec;
use agent_pod_core::usage::Tokens;
use async_trait::async_trait;
use rstest::rstest;
use serde_json::json;

/// Keeps what was stored.
#[derive(Default)]
struct Kept(Mutex<Vec<StoredTurn>>);

impl Kept {
    fn said(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().flat_map(|turn| turn.messages.iter().map(|m| m.content.clone())).collect()
    }
}

#[async_trait]
impl ConversationStore for Kept {
    async fn lock(&self, _: &SessionKey) -> Result<SessionLock, StoreError> {
        Ok(SessionLock::new(()))
    }

    async fn read(&self, _: &SessionKey, _: Window) -> Result<Option<Conversation>, StoreError> {
        Ok(Some(Conversation { turns: self.0.lock().unwrap().clone(), ..Conversation::default() }))
    }

    async fn append(
        &self,
        _: &SessionKey,
        turn: StoredTurn,
        _: ConversationSettings,
        _: &SessionLock,
    ) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(turn);
        Ok(())
    }

    async fn fold(&self, _: &SessionKey, _: Fold) -> Result<bool, StoreError> {
        panic!("nothing is to be summed up")
    }

    async fn delete(&self, _: &SessionKey) -> Result<Option<u64>, StoreError> {
        panic!("nothing is to be deleted")
    }
}

fn rule(check: CheckSettings, action: Action) -> Rule {
    let message = Some("Not here.".to_owned());
    Rule::compile(RuleSettings { check, action, message, messages: true, tool_results: false }).unwrap()
}

fn on_tools(check: CheckSettings, action: Action) -> Rule {
    let settings = RuleSettings { check, action, message: None, messages: false, tool_results: true };
    Rule::compile(settings).unwrap()
}

fn email() -> CheckSettings {
    CheckSettings::Pii(vec![Entity::Email])
}

fn topics() -> CheckSettings {
    CheckSettings::Topics(vec!["politics".to_owned()])
}

fn guarded(model: &Arc<ScriptedModel>, input: Vec<Rule>, output: Vec<Rule>) -> (Fixture, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let settings = ConversationSettings { turns_max: 5, ttl: Duration::from_secs(60) };
    let strategy = Strategy::SlidingWindow { turns_max: 5 };
    let store = Arc::clone(&kept) as Arc<dyn ConversationStore>;
    let memory = conversations(ConversationMemory { store, settings, strategy });
    (Fixture::new([("only", Arc::clone(model))]).tools().memory(memory).guardrails(input, output), kept)
}

async fn answer(fixture: &Fixture, request: TurnRequest) -> RunAnswer {
    fixture.agent().start(request, RunOptions::default(), ()).answer().await.unwrap()
}

fn tokens(seen: &[TurnEvent]) -> String {
    seen.iter()
        .filter_map(|event| if let TurnEvent::Token(text) = event { Some(text.as_str()) } else { None })
        .collect()
}

fn end(seen: &[TurnEvent]) -> &RunAnswer {
    let Some(TurnEvent::Done(answer)) = seen.last() else { panic!("{seen:?}") };
    answer
}

fn call(arguments: serde_json::Value) -> Scripted {
    Scripted::Event(ModelEvent::ToolCall(ToolCall { id: "c".into(), name: "upper".into(), arguments }))
}

#[rstest]
#[case(false)]
#[case(true)]
#[tokio::test]
async fn a_blocked_question_calls_no_model_and_stores_nothing(#[case] streaming: bool) {
    let model = ScriptedModel::new([]);
    let (fixture, kept) = guarded(&model, vec![rule(topics(), Action::Block)], vec![]);
    let options = RunOptions { streaming, ..RunOptions::default() };
    let seen = events(fixture.agent().start(ask("About Politics?"), options, ())).await;
    let body = serde_json::to_value(end(&seen)).unwrap();
    let guardrail =
        json!({"direction": "input", "type": "topic_filter", "action": "block", "reason": "topic `politics`"});
    assert_eq!((&body["blocked"], &body["finish"]), (&json!(true), &json!("blocked")));
    assert_eq!((&body["guardrail"], &body["answer"], &body["steps"]), (&guardrail, &json!("Not here."), &json!([])));
    assert!(model.requests().is_empty() && kept.said().is_empty() && tokens(&seen).is_empty());
    assert_eq!(fixture.observer.outcomes(), [("ok".to_owned(), 0)]);
}

#[tokio::test]
async fn a_redacted_question_reaches_prompt_model_and_memory_redacted() {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, kept) = guarded(&model, vec![rule(email(), Action::Redact)], vec![]);
    let answer = answer(&fixture.prompt("For {{ query }}"), ask("I am a@b.co")).await;
    let sent: Vec<_> = model.requests()[0].messages.iter().map(|message| message.content.clone()).collect();
    assert_eq!(sent, ["For I am [REDACTED_EMAIL]", "I am [REDACTED_EMAIL]"]);
    assert_eq!(kept.said(), ["I am [REDACTED_EMAIL]", "ok"]);
    assert!(!answer.blocked && answer.warnings.is_empty());
}

#[tokio::test]
async fn a_warning_passes_and_is_told_once() {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![rule(topics(), Action::Warn)], vec![]);
    let body = serde_json::to_value(answer(&fixture, ask("politics, politics")).await).unwrap();
    let warning = json!({"direction": "input", "type": "topic_filter", "reason": "topic `politics`"});
    assert_eq!((&body["warnings"], &body["blocked"]), (&json!([warning]), &json!(false)));
    assert_eq!(model.requests()[0].messages[1].content, "politics, politics");
}

#[rstest]
#[case(&["Write to a@b.co, ", "or call."])]
#[case(&["Write to a", "@b", ".", "co", ", or call."])]
#[case(&["W", "r", "i", "te to a@", "b.c", "o, or", " call."])]
#[tokio::test]
async fn a_redaction_leaks_through_no_chunk(#[case] pieces: &[&str]) {
    let model = ScriptedModel::new([Ok(pieces.iter().map(|piece| content(piece)).collect())]);
    let (fixture, kept) = guarded(&model, vec![], vec![rule(email(), Action::Redact)]);
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    assert_eq!(tokens(&seen), "Write to [REDACTED_EMAIL], or call.");
    assert_eq!(end(&seen).answer, tokens(&seen));
    assert_eq!(kept.said(), ["hi", "Write to [REDACTED_EMAIL], or call."]);
}

#[tokio::test]
async fn an_answer_that_ends_in_something_held_back_is_whole() {
    let model = ScriptedModel::new([Ok(vec![content("It is a@b"), content(".co")])]);
    let (fixture, _) = guarded(&model, vec![], vec![rule(email(), Action::Redact)]);
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    assert_eq!(
        (tokens(&seen), end(&seen).answer.as_str()),
        ("It is [REDACTED_EMAIL]".to_owned(), "It is [REDACTED_EMAIL]")
    );
}

#[tokio::test]
async fn a_blocked_stream_keeps_what_went_out_and_stops_the_model() {
    let model =
        ScriptedModel::new([Ok(vec![content("I think "), content("politics "), content("is"), Scripted::Silence])]);
    let (fixture, kept) = guarded(&model, vec![], vec![rule(topics(), Action::Block)]);
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    let answer = end(&seen);
    assert_eq!((tokens(&seen).as_str(), answer.answer.as_str()), ("I think ", "Not here."));
    assert_eq!((answer.blocked, answer.finish, answer.attempts[0].outcome), (true, Finish::Blocked, "cancelled"));
    assert_eq!(kept.said(), ["hi", "Not here."]);
}

#[tokio::test]
async fn a_blocked_answer_that_nobody_reads_along_is_the_rules_message() {
    let model = ScriptedModel::new([ScriptedModel::text("politics")]);
    let (fixture, kept) = guarded(&model, vec![], vec![rule(topics(), Action::Block)]);
    let answer = answer(&fixture, ask("hi")).await;
    assert_eq!((answer.answer.as_str(), answer.blocked), ("Not here.", true));
    assert_eq!(kept.said(), ["hi", "Not here."]);
}

#[tokio::test]
async fn an_answer_is_cut_where_the_rule_says() {
    let model = ScriptedModel::new([Ok(vec![content("12345"), content("6789")])]);
    let (fixture, _) = guarded(&model, vec![], vec![rule(CheckSettings::MaxLength(7), Action::Truncate)]);
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    assert_eq!((tokens(&seen), end(&seen).answer.as_str()), ("1234567".to_owned(), "1234567"));
}

#[tokio::test]
async fn tool_results_in_scope_are_redacted_before_the_model_sees_them() {
    const RESULT: &str = r#"{"TO":"[REDACTED_EMAIL]"}"#;
    let model = ScriptedModel::new([Ok(vec![call(json!({"to": "a@b.co"}))]), ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![on_tools(email(), Action::Redact)], vec![]);
    let answer = answer(&fixture, ask("I am a@b.co")).await;
    let sent = &model.requests()[1].messages;
    assert_eq!((sent[1].content.as_str(), sent[3].content.as_str()), ("I am a@b.co", RESULT));
    assert_eq!((answer.steps[0].result.as_str(), answer.steps[0].ok), (RESULT, true));
}

#[tokio::test]
async fn a_blocked_tool_result_is_withheld_and_the_run_goes_on() {
    let model = ScriptedModel::new([Ok(vec![call(json!({"about": "politics"}))]), ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![on_tools(topics(), Action::Block)], vec![]);
    let answer = answer(&fixture, ask("hi")).await;
    assert_eq!(model.requests()[1].messages[3].content, "withheld by a guardrail: topic `politics`");
    assert_eq!((answer.answer.as_str(), answer.blocked, answer.steps[0].ok), ("ok", false, false));
}

#[tokio::test]
async fn output_rules_cover_steps_and_their_events_and_the_memory() {
    let model = ScriptedModel::new([Ok(vec![call(json!({"to": "a@b.co"}))]), ScriptedModel::text("ok")]);
    let (fixture, kept) = guarded(&model, vec![], vec![rule(email(), Action::Redact)]);
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    let told: String = seen.iter().map(TurnEvent::to_json).collect();
    assert!(!told.to_lowercase().contains("a@b.co") && told.contains("[REDACTED_EMAIL]"), "{told}");
    assert!(model.requests()[1].messages[3].content.contains("A@B.CO"), "the model sees what the tool said");
    assert!(!kept.said().concat().contains("A@B.CO"));
}

#[tokio::test]
async fn the_token_budget_is_checked_before_each_model_call() {
    let counted = Scripted::Event(ModelEvent::Tokens(Tokens { input: 90, output: 15, cached: 0 }));
    let model = ScriptedModel::new([Ok(vec![content("Let me look."), call(json!(1)), counted])]);
    let (fixture, kept) = guarded(&model, vec![], vec![rule(CheckSettings::CostLimit(100), Action::Block)]);
    let answer = answer(&fixture, ask("hi")).await;
    let hit = answer.guardrail.unwrap();
    assert_eq!((hit.reason.as_str(), answer.answer.as_str()), ("token budget 100 exceeded (105)", "Not here."));
    assert_eq!((model.requests().len(), answer.usage.tokens_in), (1, 90));
    assert_eq!(kept.said(), ["hi", "Not here."]);
}

#[rstest]
#[case::input(true)]
#[case::output(false)]
#[tokio::test]
async fn a_rule_that_fails_to_run_blocks(#[case] on_input: bool) {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let faulty = vec![rule(CheckSettings::Faulty, Action::Warn)];
    let (input, output) = if on_input { (faulty, vec![]) } else { (vec![], faulty) };
    let (fixture, _) = guarded(&model, input, output);
    let answer = answer(&fixture, ask("hi")).await;
    assert_eq!(
        (answer.answer.as_str(), answer.guardrail.unwrap().reason.as_str()),
        ("Not here.", "the rule could not be run")
    );
    assert_eq!(model.requests().len(), usize::from(!on_input));
}

#[tokio::test]
async fn at_the_chat_door_every_text_of_the_caller_is_seen() {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![rule(email(), Action::Redact), rule(topics(), Action::Block)], vec![]);
    let said = |role, text: &str| Message::new(role, text);
    let messages = vec![
        said(Role::User, "politics from a@b.co"),
        said(Role::Assistant, "Not here."),
        Message::tool_result("c", "a@b.co"),
        said(Role::User, "I am a@b.co"),
    ];
    let chat = ChatRequest { messages, system: vec!["Serve a@b.co".to_owned()], ..ChatRequest::default() };
    let request = TurnRequest { chat: Some(Box::new(chat)), ..ask("I am a@b.co") };
    assert!(!answer(&fixture, request).await.blocked, "what was blocked before does not end the run");
    let sent: Vec<_> = model.requests()[0].messages.iter().map(|message| message.content.clone()).collect();
    assert_eq!(
        sent,
        [
            "Be kind.\n\nServe [REDACTED_EMAIL]",
            "[withheld by a guardrail]",
            "Not here.",
            "a@b.co",
            "I am [REDACTED_EMAIL]"
        ]
    );
}

/// All that the model has got.
fn sent(model: &ScriptedModel) -> String {
    let requests = model.requests();
    let request = requests.first().expect("the model was asked");
    format!("{:?} {:?} {:?}", request.messages, request.tools, request.response_format)
}

#[rstest]
#[case::assistant(ChatRequest {
    messages: vec![Message::new(Role::Assistant, "a@b.co on politics"), Message::new(Role::User, "hi")],
    ..ChatRequest::default()
})]
#[case::arguments_of_a_call(ChatRequest {
    messages: vec![
        Message {
            tool_calls: vec![ToolCall { id: "c".into(), name: "f".into(), arguments: json!({"a@b.co": "politics"}) }],
            reasoning: Some("politics with a@b.co".to_owned()),
            ..Message::new(Role::Assistant, "")
        },
        Message::new(Role::User, "hi"),
    ],
    ..ChatRequest::default()
})]
#[tokio::test]
async fn what_was_said_before_comes_to_the_model_past_the_rules(#[case] chat: ChatRequest) {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![rule(email(), Action::Redact), rule(topics(), Action::Block)], vec![]);
    let request = TurnRequest { chat: Some(Box::new(chat)), ..ask("hi") };
    assert!(!answer(&fixture, request).await.blocked);
    let sent = sent(&model);
    assert!(!sent.contains("a@b.co") && sent.contains("[withheld by a guardrail]"), "{sent}");
}

fn tool(name: &str, description: &str, parameters: serde_json::Value) -> ChatRequest {
    let spec = ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters };
    ChatRequest { messages: vec![Message::new(Role::User, "hi")], tools: vec![spec], ..ChatRequest::default() }
}

#[rstest]
#[case::description(|found: &str| tool("f", found, json!({})))]
#[case::schema(|found: &str| tool("f", "d", json!({"properties": {"x": {"description": found}}})))]
#[case::field_of_a_schema(|found: &str| tool("f", "d", json!({"properties": {found: {"type": "string"}}})))]
#[tokio::test]
async fn what_the_caller_brings_comes_to_the_model_past_the_rules(#[case] chat: fn(&str) -> ChatRequest) {
    for (found, blocks) in [("politics", true), ("a@b.co", false)] {
        let model = ScriptedModel::new([ScriptedModel::text("ok")]);
        let (fixture, _) = guarded(&model, vec![rule(email(), Action::Redact), rule(topics(), Action::Block)], vec![]);
        let request = TurnRequest { chat: Some(Box::new(chat(found))), ..ask("hi") };
        assert_eq!(answer(&fixture, request).await.blocked, blocks);
        assert!(blocks || !sent(&model).contains(found));
    }
}

#[tokio::test]
async fn the_form_that_the_caller_wants_passes_the_rules() {
    let model = ScriptedModel::new([]);
    let (fixture, _) = guarded(&model, vec![rule(topics(), Action::Block)], vec![]);
    let schema = json!({"properties": {"politics": {"type": "string"}}});
    let response_format = Some(ResponseFormat::JsonSchema { name: "answer".to_owned(), schema, strict: None });
    let messages = vec![Message::new(Role::User, "hi")];
    let chat = ChatRequest { messages, response_format, ..ChatRequest::default() };
    assert!(answer(&fixture, TurnRequest { chat: Some(Box::new(chat)), ..ask("hi") }).await.blocked);
    assert!(model.requests().is_empty());
}

#[rstest]
#[case("{{ card }}", json!({"card": "a@b.co"}), "[REDACTED_EMAIL]", false)]
#[case("{{ card }}", json!({"card": {"of": ["a@b.co"]}}), "[REDACTED_EMAIL]", false)]
#[case("{{ card.of }}", json!({"card": {"of": "politics"}}), "", true)]
#[case("{{ card }}", json!({"unused": "politics", "card": 1}), "1", false)]
#[tokio::test]
async fn values_of_the_context_come_to_the_prompt_past_the_rules(
    #[case] prompt: &str,
    #[case] context: serde_json::Value,
    #[case] expected: &str,
    #[case] blocked: bool,
) {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![rule(email(), Action::Redact), rule(topics(), Action::Block)], vec![]);
    let context = context.as_object().unwrap().clone();
    let answer = answer(&fixture.prompt(prompt), TurnRequest { context, ..ask("hi") }).await;
    assert_eq!(answer.blocked, blocked);
    assert!(blocked || model.requests()[0].messages[0].content.contains(expected));
}

#[tokio::test]
async fn what_is_handed_over_comes_to_the_model_past_the_rules() {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![rule(email(), Action::Redact), rule(topics(), Action::Block)], vec![]);
    let transcript = vec![Message::new(Role::Assistant, "politics"), Message::new(Role::User, "a@b.co")];
    let handoff = |note: &str| Handoff {
        from: "x".to_owned(),
        note: Some(note.to_owned()),
        transcript: transcript.clone(),
        ..Handoff::default()
    };
    let request = |note| TurnRequest { handoff: Some(Box::new(handoff(note))), ..ask("go on") };
    assert!(answer(&fixture, request("Talk politics.")).await.blocked);
    assert!(model.requests().is_empty());
    assert!(!answer(&fixture, request("Write to a@b.co.")).await.blocked);
    let sent = sent(&model);
    assert!(!sent.contains("a@b.co") && sent.contains("[withheld by a guardrail]"), "{sent}");
}

#[tokio::test]
async fn a_long_question_is_screened_like_a_short_one() {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![rule(email(), Action::Redact)], vec![]);
    let question = "1 ".repeat(100_000) + "a@b.co";
    answer(&fixture, ask(&question)).await;
    assert_eq!(model.requests()[0].messages[1].content, "1 ".repeat(100_000) + "[REDACTED_EMAIL]");
}

#[tokio::test]
async fn a_long_piece_of_a_stream_is_screened_like_short_ones() {
    let piece = "1 ".repeat(100_000) + "a@b.co, and ";
    let model = ScriptedModel::new([Ok(vec![content("So: "), content(&piece), content("more.")])]);
    let (fixture, _) = guarded(&model, vec![], vec![rule(email(), Action::Redact)]);
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    let expected = "So: ".to_owned() + &"1 ".repeat(100_000) + "[REDACTED_EMAIL], and more.";
    assert_eq!((tokens(&seen), &end(&seen).answer), (expected.clone(), &expected));
}

#[tokio::test]
async fn the_deadline_ends_what_is_screened() {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let (fixture, _) = guarded(&model, vec![rule(email(), Action::Redact)], vec![]);
    // Far more than can be read in that time.
    let question = "1 ".repeat(2_500_000);
    let options = RunOptions { timeout: Some(Duration::from_millis(50)), ..RunOptions::default() };
    let error = fixture.agent().start(ask(&question), options, ()).answer().await.unwrap_err();
    assert_eq!(error.code.as_str(), "deadline_exceeded");
    assert!(model.requests().is_empty());
}
