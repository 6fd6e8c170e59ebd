//! What a request needs and no candidate has: never a call, and an error that says what is missing.

use rstest::rstest;
use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::world::{Answer, World, agent, provider};

/// A provider whose model has these capabilities.
fn able(name: &str, url: &str, capabilities: &[&str]) -> Value {
    provider(name, url, json!({"models": [{"name": "m", "capabilities": capabilities}]}))
}

const IMAGE: &str = "data:image/png;base64,iVBORw0KGgo=";

async fn show(world: &World, agent: &str) -> Answer {
    let request = world.pod.ask(agent, &json!({"query": "what is this?", "images": [IMAGE]}));
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn images_go_to_the_one_that_sees_under_every_strategy() {
    let (blind, seeing) = (ModelServer::good("blind").await, ModelServer::good("seeing").await);
    let strategies = ["cost_optimized", "latency_optimized", "quality_first", "round_robin", "capability_match"];
    let named = |strategy: &str| strategy.replace('_', "-");
    let agents = strategies
        .map(|strategy| agent(&named(strategy), &["blind", "seeing"], json!({"model": {"strategy": strategy}})));
    let providers = [able("blind", &blind.url(), &["tools"]), able("seeing", &seeing.url(), &["vision"])];
    let world = World::of(providers.into_iter().chain(agents)).await;
    for strategy in strategies {
        assert_eq!(show(&world, &named(strategy)).await.text(), "seeing", "{strategy}");
    }
    assert_eq!((blind.count(), seeing.count()), (0, strategies.len()));
    let content = seeing.calls()[0].body["messages"][1]["content"].clone();
    assert_eq!(content[1]["image_url"]["url"], IMAGE, "{content:#}");
}

#[tokio::test]
async fn images_without_a_model_that_sees_are_refused() {
    let server = ModelServer::good("blind").await;
    let world = World::of([provider("p", &server.url(), json!({})), agent("asked", &["p"], json!({}))]).await;
    let answer = show(&world, "asked").await;
    answer.assert_error(400, "unsupported_content");
    assert!(answer.message().contains("vision"), "{}", answer.message());
    assert_eq!((server.count(), world.run("asked").await.text()), (0, "blind"));
}

#[rstest]
#[case::vision("vision", &["tools", "json_schema"])]
#[case::json_schema("json_schema", &["tools", "vision"])]
#[case::tools("tools", &[])]
#[tokio::test]
async fn what_the_role_requires_is_looked_for(#[case] required: &str, #[case] others: &[&str]) {
    let (without, with) = (ModelServer::good("without").await, ModelServer::good("with").await);
    let requires = json!({"model": {"requires": [required]}});
    let manifests = [
        able("without", &without.url(), others),
        able("with", &with.url(), &[required]),
        agent("pair", &["without", "with"], requires.clone()),
        agent("lost", &["without"], requires),
    ];
    let world = World::of(manifests).await;
    assert_eq!(world.run("pair").await.text(), "with");
    let lost = world.run("lost").await;
    lost.assert_error(502, "no_capable_provider");
    let names = format!("without/m lacks `{required}`");
    assert!(lost.message().contains(&names) && lost.retry_after.is_none(), "{}", lost.message());
    assert_eq!((without.count(), with.count()), (0, 1));
}

#[tokio::test]
async fn a_conversation_goes_to_the_one_that_takes_it_in_or_to_nobody() {
    let (small, large) = (ModelServer::good("small").await, ModelServer::good("large").await);
    let window = |tokens: u32| json!({"models": [{"name": "m", "contextWindow": tokens}]});
    let manifests = [
        provider("small", &small.url(), window(100)),
        provider("large", &large.url(), window(1_000)),
        agent("asked", &["small", "large"], json!({})),
    ];
    let world = World::of(manifests).await;
    let ask = async |words: usize| {
        let request = world.pod.ask("asked", &json!({"query": "word ".repeat(words)}));
        Answer::read(request.send().await.unwrap()).await
    };
    assert_eq!(ask(10).await.text(), "small");
    assert_eq!(ask(400).await.text(), "large");
    let refused = ask(4_000).await;
    refused.assert_error(413, "context_too_long");
    assert_eq!((small.count(), large.count()), (1, 1));
}

#[tokio::test]
async fn a_schema_goes_to_the_one_that_is_held_to_it() {
    let (free, held) = (ModelServer::good("free").await, ModelServer::good("{}").await);
    let manifests = [
        able("free", &free.url(), &[]),
        able("held", &held.url(), &["json_schema"]),
        agent("pair", &["free", "held"], json!({"expose": {"openai": true}})),
        agent("lost", &["free"], json!({"expose": {"openai": true}})),
    ];
    let world = World::of(manifests).await;
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    let ask = async |model: &str| {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let body = json!({"model": model, "messages": messages, "response_format": format});
        let url = format!("{}/v1/chat/completions", world.pod.api);
        Answer::read(world.pod.http.post(url).json(&body).send().await.unwrap()).await
    };
    assert_eq!(ask("pair").await.body["choices"][0]["message"]["content"], "{}");
    ask("lost").await.assert_error(502, "no_capable_provider");
    assert_eq!((free.count(), held.count()), (0, 1));
}
