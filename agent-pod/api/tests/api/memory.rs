use agent_pod_core::access::AccessPolicy;
use agent_pod_core::embedding::Unit;
use agent_pod_core::memory::semantic::{Meaning, SemanticStore as _};
use agent_pod_core::memory::{Conversation, SessionKey, StoredTurn};
use agent_pod_core::message::{Message, Role, ToolCall};
use axum::body::Body;
use axum::http::{Method, Request};
use rstest::rstest;
use serde_json::{Value, json};

use crate::client::{call, get, with_header};
use crate::fake::{FakeAgents, agent, namespace};

fn delete(path: &str) -> Request<Body> {
    let mut request = get(path);
    *request.method_mut() = Method::DELETE;
    request
}

fn turn(number: usize) -> StoredTurn {
    StoredTurn {
        messages: vec![
            Message::new(Role::User, format!("q{number}")),
            Message {
                reasoning: Some("a secret thought".to_owned()),
                ..Message::new(Role::Assistant, format!("a{number}"))
            },
        ],
        timestamp: format!("2026-01-01T00:00:0{number}.000Z"),
        agent: None,
    }
}

fn put(agents: &FakeAgents, agent: &str, session: &str, turns: Vec<StoredTurn>, summary: Option<&str>) {
    let key = SessionKey { agent: format!("shop/{agent}"), session: session.to_owned() };
    let summary = summary.map(ToOwned::to_owned);
    agents.memory.put(key, Conversation { turns, first: 7, summary, revision: "r".to_owned(), left_out: 0 });
}

fn texts(page: &Value) -> Vec<&str> {
    let messages = page["history"].as_array().expect("a page has a history");
    messages.iter().map(|message| message["content"].as_str().expect("a message has a text")).collect()
}

#[tokio::test]
async fn a_history_is_as_the_wire_has_it() {
    let agents = FakeAgents::support();
    let mut asks = Message::new(Role::Assistant, "");
    asks.tool_calls = vec![ToolCall { id: "c1".to_owned(), name: "get_order".to_owned(), arguments: json!({"id": 7}) }];
    let messages = vec![
        Message::new(Role::User, "Where is order 7?"),
        asks,
        Message::tool_result("c1", "shipped"),
        Message::new(Role::Assistant, "On its way."),
    ];
    let timestamp = "2026-01-01T00:00:00.000Z";
    put(
        &agents,
        "support",
        "s 1/ü",
        vec![StoredTurn { messages, timestamp: timestamp.to_owned(), agent: None }],
        Some("notes"),
    );
    let history = call(&agents, get("/v1/memory/support/history/s%201%2F%C3%BC")).await.json();
    assert_eq!(
        history,
        json!({
            "agent": "support", "sessionId": "s 1/ü", "session_id": "s 1/ü",
            "history": [
                {"role": "user", "content": "Where is order 7?", "timestamp": timestamp},
                {"role": "assistant", "content": "", "timestamp": timestamp,
                 "toolCalls": [{"id": "c1", "name": "get_order", "arguments": {"id": 7}}]},
                {"role": "tool", "content": "shipped", "toolCallId": "c1", "timestamp": timestamp},
                {"role": "assistant", "content": "On its way.", "timestamp": timestamp},
            ],
            "summary": "notes",
        })
    );
}

#[rstest]
#[case(1, "a2|q2|a1|q1|a0|q0")]
#[case(2, "q2 a2|q1 a1|q0 a0")]
#[case(4, "q1 a1 q2 a2|q0 a0")]
#[case(5, "a0 q1 a1 q2 a2|q0")]
#[case(6, "q0 a0 q1 a1 q2 a2")]
#[tokio::test]
async fn pages_go_back_to_the_beginning(#[case] limit: usize, #[case] expected: &str) {
    let agents = FakeAgents::support();
    put(&agents, "support", "s", (0..3).map(turn).collect(), None);
    let first = format!("/v1/memory/support/history/s?limit={limit}");
    let (mut pages, mut path) = (Vec::new(), Some(first.clone()));
    while let Some(next) = path {
        let page = call(&agents, get(&next)).await.json();
        pages.push(texts(&page).join(" "));
        path = page["nextCursor"].as_str().map(|cursor| format!("{first}&cursor={cursor}"));
    }
    assert_eq!(pages.join("|"), expected);
}

#[tokio::test]
async fn turns_that_come_meanwhile_move_no_page() {
    let agents = FakeAgents::support();
    put(&agents, "support", "s", (0..3).map(turn).collect(), None);
    let first = call(&agents, get("/v1/memory/support/history/s?limit=2")).await.json();
    put(&agents, "support", "s", (0..9).map(turn).collect(), None);
    let cursor = first["nextCursor"].as_str().unwrap();
    let next = call(&agents, get(&format!("/v1/memory/support/history/s?limit=2&cursor={cursor}"))).await.json();
    assert_eq!(texts(&next), ["q1", "a1"]);
}

#[tokio::test]
async fn a_cleared_session_is_gone_and_others_are_not() {
    let agents = FakeAgents::new(["support", "sales"].map(|name| agent(name, AccessPolicy::Open)));
    for (name, session) in [("support", "s"), ("support", "t"), ("sales", "s")] {
        put(&agents, name, session, vec![turn(0)], None);
    }
    let cleared = call(&agents, delete("/v1/memory/support/history/s")).await.json();
    assert_eq!(
        cleared,
        json!({"status": "cleared", "agent": "support", "sessionId": "s", "session_id": "s", "deleted": 2})
    );
    for request in [get("/v1/memory/support/history/s"), delete("/v1/memory/support/history/s")] {
        assert_eq!(call(&agents, request).await.failure(), (404, "session_not_found".to_owned()));
    }
    for path in ["/v1/memory/support/history/t", "/v1/memory/sales/history/s"] {
        assert_eq!(call(&agents, get(path)).await.status, 200, "{path}");
    }
}

#[rstest]
#[case("/v1/memory/nobody/history/s", 404, "agent_not_found")]
#[case("/v1/memory/support/history/unknown", 404, "session_not_found")]
#[case("/v1/memory/forgetful/history/s", 404, "session_not_found")]
#[case("/v1/memory/support/history/s?limit=0", 422, "validation_failed")]
#[case("/v1/memory/support/history/s?limit=1001", 422, "validation_failed")]
#[case("/v1/memory/support/history/s?limit=many", 422, "validation_failed")]
#[case("/v1/memory/support/history/s?cursor=elsewhere", 422, "validation_failed")]
#[case("/v1/memory/nobody/semantic?query=dog", 404, "agent_not_found")]
#[case("/v1/memory/forgetful/semantic?query=dog", 404, "session_not_found")]
#[case("/v1/memory/support/semantic", 422, "validation_failed")]
#[case("/v1/memory/support/semantic?query=%20", 422, "validation_failed")]
#[case("/v1/memory/support/semantic?query=dog&topK=0", 422, "validation_failed")]
#[case("/v1/memory/support/semantic?query=dog&topK=101", 422, "validation_failed")]
#[case("/v1/memory/support/semantic?query=dog&topK=few", 422, "validation_failed")]
#[tokio::test]
async fn what_cannot_be_shown_says_why(#[case] path: &str, #[case] status: u16, #[case] code: &str) {
    let agents = FakeAgents::new(["support", "forgetful"].map(|name| agent(name, AccessPolicy::Open)));
    put(&agents, "support", "s", vec![turn(0)], None);
    assert_eq!(call(&agents, get(path)).await.failure(), (status, code.to_owned()));
}

#[tokio::test]
async fn a_store_that_is_down_is_said_to_be() {
    let agents = FakeAgents::support();
    agents.memory.go_down();
    agents.meanings.go_down();
    let search = get("/v1/memory/support/semantic?query=dog");
    for request in [get("/v1/memory/support/history/s"), delete("/v1/memory/support/history/s"), search] {
        let answer = call(&agents, request).await;
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert_eq!(answer.failure(), (503, "memory_unavailable".to_owned()));
    }
}

#[rstest]
#[case(None, 401)]
#[case(Some("Bearer bank/web"), 403)]
#[case(Some("Bearer shop/web"), 200)]
#[tokio::test]
async fn whoever_may_call_the_agent_may_see_its_memory(#[case] token: Option<&str>, #[case] expected: u16) {
    let agents = FakeAgents::new([agent("support", namespace("shop"))]);
    put(&agents, "support", "s", vec![turn(0)], None);
    let search = get("/v1/memory/support/semantic?query=dog");
    for request in [get("/v1/memory/support/history/s"), delete("/v1/memory/support/history/s"), search] {
        let request = token.into_iter().fold(request, |request, token| with_header(request, "authorization", token));
        assert_eq!(call(&agents, request).await.status, expected);
    }
}

#[tokio::test]
async fn what_is_found_by_its_meaning_is_as_the_wire_has_it() {
    let agents = FakeAgents::support();
    let key = |agent: &str, session: &str| SessionKey { agent: format!("shop/{agent}"), session: session.to_owned() };
    let text = |content: &str, vector: [f32; 2]| Meaning {
        content: content.to_owned(),
        vector: Unit::of(&vector).expect("it has a length"),
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
    };
    let texts = vec![text("both", [3.0, 4.0]), text("dog", [1.0, 0.0]), text("cat", [0.0, 1.0])];
    agents.meanings.add(&key("support", "s"), "words/2", texts, 9).await.unwrap();
    agents.meanings.add(&key("sales", "s"), "words/2", vec![text("other", [1.0, 0.0])], 9).await.unwrap();
    let found = call(&agents, get("/v1/memory/support/semantic?query=the%20dog")).await.json();
    let at = "2026-01-01T00:00:00.000Z";
    let dog = json!({"content": "dog", "score": 1.0, "sessionId": "s", "timestamp": at});
    let both = json!({"content": "both", "score": 0.6, "sessionId": "s", "timestamp": at});
    assert_eq!(found, json!({"agent": "support", "query": "the dog", "results": [dog, both]}));
    for path in ["semantic?query=dog&topK=1", "semantic?query=dog&top_k=1"] {
        let found = call(&agents, get(&format!("/v1/memory/support/{path}"))).await.json();
        assert_eq!(found["results"], json!([dog]));
    }
    let missing = call(&agents, get("/v1/memory/support/semantic?topK=0")).await.json();
    let named: Vec<_> =
        missing["error"]["details"]["problems"].as_array().unwrap().iter().map(|it| it["path"].clone()).collect();
    assert_eq!(named, ["topK", "query"]);
}
