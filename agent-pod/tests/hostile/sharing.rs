//! What belongs to all is not spent by one.

use std::thread::scope;

use serde_json::json;

use crate::manifests::one_agent;
use crate::model::{Gate, Model, hello};
use crate::pod::{Pod, until};

#[test]
fn a_caller_who_asks_for_four_billion_tokens_reserves_what_a_call_can_use() {
    let gate = Gate::default();
    let behind = gate.clone();
    let model = Model::start(move |request, out| {
        if request.to_string().contains("slow") {
            behind.pass();
        }
        hello(out)
    });
    let budget = "  budget: {window: 24h, maxTokens: 6000}\n";
    let pod = Pod::serve(&one_agent(&model.url(), budget).replace("contextWindow: 200000000", "contextWindow: 8192"));
    scope(|threads| {
        threads.spawn(|| {
            let greedy = json!({"model": "a", "messages": [{"role": "user", "content": "slow"}], "max_tokens": 4_000_000_000_u32});
            drop(pod.send("/v1/chat/completions", greedy.to_string()));
        });
        until("the first call", || !model.asked().is_empty());
        let other = pod.run("a", &json!({"query": "x"}));
        gate.open();
        assert_eq!(other.status, 200, "{other:?}");
    });
    pod.survives();
}

#[test]
fn runs_that_wait_for_one_session_leave_the_others_their_places() {
    let gate = Gate::default();
    let behind = gate.clone();
    let model = Model::start(move |request, out| {
        if request.to_string().contains("slow") {
            behind.pass();
        }
        hello(out)
    });
    let more = "  runtime: {maxConcurrentRuns: 4}\n  memory: {conversational: {backend: in_memory}}\n";
    let pod = Pod::serve(&one_agent(&model.url(), more));
    scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| drop(pod.run("a", &json!({"query": "slow", "sessionId": "s"}))));
        }
        until("the first call", || model.open() == 1);
        let other = pod.run("a", &json!({"query": "x", "sessionId": "t"}));
        gate.open();
        assert_eq!(other.status, 200, "{other:?}");
    });
    pod.survives();
}
