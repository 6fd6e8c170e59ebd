//! Small things that become large: results of filters, lists of problems, names that collide.

use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::manifests::{PII, agent, one_agent, provider};
use crate::model::Model;
use crate::pod::{Pod, slow};

#[test]
fn filters_that_make_much_of_little_are_not_rendered_where_runs_are_served() {
    let model = Model::polite();
    let repeated = format!("{{{{ [{}]|upper }}}}", ["q"; 250].join(", "));
    let prompts = [
        "{{ [1]|tojson(indent=1000000000) }}",
        "{{ data|tojson(indent=n) }}",
        &repeated,
        &repeated.replace("|upper", "|e"),
        &repeated.replace("|upper", " ~ 'x'"),
        &repeated.replace("|upper", "|replace('a', 'b')"),
        &repeated.replace("|upper", "|urlencode"),
    ];
    let agents: String = prompts.iter().enumerate().map(|(at, prompt)| agent(&format!("p{at}"), prompt, "")).collect();
    let pod = Pod::serve(&(provider(&model.url()) + &agent("a", "You are a.", "") + &agents));
    let context = json!({"q": "a&".repeat(500_000), "n": 3_000_000, "data": [[[[1]]]]});
    for (at, prompt) in prompts.iter().enumerate() {
        let answer = pod.run(&format!("p{at}"), &json!({"query": "x", "context": context}));
        assert!(answer.status == 500 || answer.is_documented(), "{prompt}: {answer:?}");
    }
    pod.survives();
}

#[test]
fn a_hundred_thousand_problems_are_told_in_a_few_lines() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), "  expose: {openai: true}\n"));
    let ones = "1,".repeat(99_999) + "1";
    for (path, body) in [
        ("/v1/chat/completions", format!("{{\"model\":\"a\",\"messages\":[{ones}]}}")),
        (
            "/v1/chat/completions",
            format!(
                "{{\"model\":\"a\",\"messages\":[{{\"role\":\"assistant\",\"tool_calls\":[{ones}]}},{{\"role\":\"user\",\"content\":\"x\"}}]}}"
            ),
        ),
        ("/v1/agents/a/run", format!("{{\"query\":\"x\",\"images\":[{ones}]}}")),
    ] {
        let answer = pod.send(path, &body);
        assert!((400..500).contains(&answer.status) && answer.is_documented(), "{}", answer.status);
        assert!(answer.body.len() < 32_000, "{} bytes", answer.body.len());
    }
    pod.survives();
}

#[test]
fn names_that_collide_once_they_are_redacted_stop_nobody() {
    let model = Model::polite();
    let pod = Pod::serve(&(provider(&model.url()) + &agent("a", "You are a. {{ card }}", PII)));
    let count = 16_000;
    let taken = (count..3 * count).map(|number| (format!("[REDACTED_EMAIL] {number}"), json!(0)));
    let fresh = (0..count).map(|number| (format!("u{number}@example.com"), json!(0)));
    let card: Map<String, Value> = taken.chain(fresh).collect();
    scope(|threads| {
        threads.spawn(|| drop(pod.run("a", &json!({"query": "x", "context": {"card": card}}))));
        let begun = Instant::now();
        let answer = pod.run("a", &json!({"query": "y ".repeat(6_000)}));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{:?}", begun.elapsed());
    });
    pod.survives();
}
