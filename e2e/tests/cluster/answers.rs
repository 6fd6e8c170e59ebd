//! An agent answers, and its answer streams.

use std::time::Duration;

use astromesh_e2e::command::kubectl_with;
use astromesh_e2e::manifests::{sample, to_yaml, with};
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Caller, settings, with_temp_ns};
use serde_json::{Value, json};

use crate::support::{joined_tokens, scripted, support};

/// A caller that leaves is noticed within 100 ms; the rest is for the port-forward.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_is_applied_becomes_ready_and_answers_from_a_real_model() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let provider = sample("config/samples/quickstart/provider.yaml")?.remove(0);
        let provider = with(provider, "/spec/endpoint", json!(settings::llm()?));
        let agent = sample("config/samples/quickstart/agent.yaml")?.remove(0);
        let manifests = to_yaml(&[provider, agent])?;
        kubectl_with(&["--namespace", &ns.name, "apply", "-f", "-"], &manifests).await?.text()?;
        let agent = ns.agent_ready("hello").await?;
        assert_eq!(agent.status.unwrap().models, ["local/smollm2-135m-instruct"]);

        let caller = ns.caller("hello").await?;
        let answer = caller.ask("What is the capital of France?").await?;
        assert!(!answer.text()?.is_empty());
        assert_eq!((&answer.body["agent"], &answer.body["finish"]), (&json!("hello"), &json!("stop")));
        assert!(answer.body["usage"]["tokensOut"].as_u64() > Some(0), "{}", answer.body);

        let events = caller.stream("Say hello to Ada.").await?.rest().await?;
        is_the_story_of_a_run(&events);
        let mut socket = caller.socket().await?;
        for query in ["Say hello to Ben.", "And now to Cy."] {
            is_the_story_of_a_run(&socket.ask(query).await?);
        }
        Ok(())
    })
    .await
}

/// `status`, several tokens, and `done` with what the tokens join to.
fn is_the_story_of_a_run(events: &[Value]) {
    let tokens = events.iter().filter(|event| event["type"] == "token").count();
    let done = events.last().unwrap();
    assert_eq!((&events[0]["type"], &done["type"]), (&json!("status"), &json!("done")), "{events:?}");
    assert!(tokens > 1, "an answer of one piece is no stream: {events:?}");
    assert_eq!(joined_tokens(events), done["answer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_is_sent_before_the_model_has_made_the_next() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = scripted(ns, Script::Gated(vec!["It ", "is ", "Friday.", "It ", "is ", "Friday."])).await?;
        ns.apply(support("x")).await?;
        ns.agent_ready("support").await?;
        let caller = ns.caller("support").await?;

        let mut stream = caller.stream("When?").await?;
        for token in ["It ", "is ", "Friday."] {
            llm.release(1);
            assert_eq!(stream.next_of("token").await?["content"], token);
        }
        llm.release(3);
        assert_eq!(stream.next_of("done").await?["answer"], "It is Friday.It is Friday.");

        let mut socket = caller.socket().await?;
        socket.send(&json!({"query": "When?"})).await?;
        for token in ["It ", "is ", "Friday."] {
            llm.release(1);
            assert_eq!(socket.next_of("token").await?["content"], token);
        }
        llm.release(3);
        assert_eq!(socket.next_of("done").await?["answer"], "It is Friday.It is Friday.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_a_stream_ends_the_call_of_the_model() -> anyhow::Result<()> {
    leaving_ends_the_call_of_the_model(async |caller: &Caller| {
        caller.stream("When?").await?.next_of("token").await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_a_websocket_ends_the_call_of_the_model() -> anyhow::Result<()> {
    leaving_ends_the_call_of_the_model(async |caller: &Caller| {
        let mut socket = caller.socket().await?;
        socket.send(&json!({"query": "When?"})).await?;
        socket.next_of("token").await?;
        Ok(())
    })
    .await
}

async fn leaving_ends_the_call_of_the_model(
    call_and_leave: impl AsyncFnOnce(&Caller) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = scripted(ns, Script::Gated(vec!["It ", "never comes"])).await?;
        ns.apply(support("x")).await?;
        ns.agent_ready("support").await?;
        let caller = ns.caller("support").await?;
        llm.release(1);
        call_and_leave(&caller).await?;
        llm.hung_up(NOTICED_WITHIN).await
    })
    .await
}
