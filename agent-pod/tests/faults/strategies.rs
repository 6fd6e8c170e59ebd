//! In which order candidates are tried, by what their manifests say and by what was measured of them.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::reply::{Act, Reply};
use crate::world::{World, agent, provider};

/// A model `m` of which this is known.
fn known(facts: Value) -> Value {
    let Value::Object(mut model) = facts else { panic!("facts are an object") };
    model.insert("name".to_owned(), json!("m"));
    json!({"models": [model]})
}

fn price(input: &str, output: &str) -> Value {
    json!({"price": {"inputPerMillion": input, "outputPerMillion": output}})
}

/// Providers `a`, `b` and `c` that answer with their names, and an agent that declares them in this order.
async fn three(strategy: &str, facts: [Value; 3]) -> (Vec<ModelServer>, World) {
    let (mut servers, mut manifests) = (Vec::new(), Vec::new());
    for (name, facts) in ["a", "b", "c"].into_iter().zip(facts) {
        let server = ModelServer::good(name).await;
        manifests.push(provider(name, &server.url(), known(facts)));
        servers.push(server);
    }
    manifests.push(agent("asked", &["a", "b", "c"], json!({"model": {"strategy": strategy}})));
    (servers, World::of(manifests).await)
}

#[rstest]
#[case::the_cheapest("cost_optimized", [price("2", "2"), price("1", "1"), price("3", "3")], "b")]
#[case::dear_answers_count("cost_optimized", [price("0.1", "30"), price("1", "1"), json!({})], "b")]
#[case::without_a_price_last("cost_optimized", [json!({}), price("50", "50"), json!({})], "b")]
#[case::the_best("quality_first", [json!({"quality": 40}), json!({}), json!({"quality": 90})], "c")]
#[case::the_first_declared("capability_match", [json!({}), price("0", "0"), json!({"quality": 90})], "a")]
#[case::ties_as_declared("quality_first", [json!({"quality": 7}), json!({"quality": 7}), json!({})], "a")]
#[tokio::test]
async fn the_strategy_says_who_is_asked(#[case] strategy: &str, #[case] facts: [Value; 3], #[case] expected: &str) {
    let (servers, world) = three(strategy, facts).await;
    assert_eq!(world.run("asked").await.text(), expected);
    assert_eq!(servers.iter().map(ModelServer::count).sum::<usize>(), 1);
}

#[tokio::test]
async fn the_next_one_in_rank_follows_the_one_that_fails() {
    let (servers, world) = three("cost_optimized", [price("2", "2"), price("1", "1"), price("3", "3")]).await;
    servers[1].script([Reply::refusal(401, &[])]);
    servers[0].script([Reply::refusal(404, &[])]);
    let answer = world.run("asked").await;
    assert_eq!((answer.text(), answer.attempts()[0].as_str()), ("c", "b unauthorized"));
    assert_eq!(answer.attempts(), ["b unauthorized", "a not_found", "c ok"]);
}

#[tokio::test]
async fn round_robin_takes_turns_evenly() {
    let (servers, world) = three("round_robin", [json!({}), json!({}), json!({})]).await;
    let mut order = String::new();
    for _ in 0..20 {
        order.push_str(world.run("asked").await.text());
    }
    assert_eq!(order, "abcabcabcabcabcabcab");
    assert_eq!(servers.iter().map(ModelServer::count).collect::<Vec<_>>(), [7, 7, 6]);
}

#[tokio::test]
async fn the_fastest_is_asked_once_all_are_measured() {
    let (servers, world) = three("latency_optimized", [json!({}), json!({}), json!({})]).await;
    let after = |time| Reply::nothing().then(Act::Pause(Duration::from_millis(time)));
    servers[0].script([after(400).and(Reply::answer("a"))]);
    servers[2].script([after(200).and(Reply::answer("c"))]);
    let mut order = String::new();
    for _ in 0..5 {
        order.push_str(world.run("asked").await.text());
    }
    assert_eq!(order, "abcbb", "each unmeasured one first, in order");
    assert!(world.provider("a").await["latencyMs"].as_u64().unwrap() >= 400);
}

#[tokio::test]
async fn what_an_answer_costs_is_told_and_counted() {
    let (_servers, world) = three("cost_optimized", [price("10", "30"), json!({}), json!({})]).await;
    let usage = world.run("asked").await.body["usage"].clone();
    // 100 tokens in and 10 out.
    assert_eq!((&usage["tokensIn"], &usage["tokensOut"], &usage["cost"]), (&json!(100), &json!(10), &json!("0.0013")));
    assert_eq!(usage["byModel"][0]["provider"], "a");
    let counted = world.metric("astromesh_gen_ai_client_cost_usd_total", &["provider=\"a\""]).await;
    assert!((counted - 0.0013).abs() < 1e-9, "{counted}");
    assert_eq!((world.tokens("a", "input").await, world.tokens("a", "output").await), (100.0, 10.0));
}
