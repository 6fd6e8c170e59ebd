//! Work that no deadline reaches must not exist: comparisons, scans, schemas, patterns.

use std::io::Write as _;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::manifests::{PII, TOOLS, agent, one_agent};
use crate::model::{END, EVENTS, Model, call, token};
use crate::pod::{Pod, slow, until};

/// Lists that share their halves: sixty doublings, and what is done with them.
fn halves() -> Vec<(&'static str, String)> {
    let made = "{% set ns = namespace(a=[0], b=[0]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}";
    let uses = [
        ("compared", "{{ ns.a == ns.b }}"),
        ("printed", "{{ ns.a }}"),
        ("as JSON", "{{ ns.a|tojson|length }}"),
        ("as a key", "{{ {ns.a: 1} }}"),
        ("searched", "{{ ns.b in [ns.a] }}"),
        ("unique", "{{ [ns.a, ns.b]|unique|list|length }}"),
        ("sorted", "{{ [ns.a, ns.b]|sort|length }}"),
        ("printed for debugging", "{{ ns.a|pprint|length }}"),
    ];
    uses.into_iter().map(|(name, used)| (name, format!("{made}{used}"))).collect()
}

#[test]
fn lists_that_share_their_halves_cost_what_they_may() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
    for (name, template) in halves() {
        let begun = Instant::now();
        let answer = pod.tool("json_transform", &json!({"template": template, "data": {}}));
        assert!(answer.is_documented(), "{name}: {answer:?}");
        assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{name}: {:?}", begun.elapsed());
    }
    pod.survives();
}

#[test]
fn texts_that_grow_in_a_template_are_stopped() {
    let templates = [
        "{{ 'a' * 1000000000 }}",
        "{% set ns = namespace(a='aaaaaaaa') %}{% for i in range(40) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a|length }}",
        "{{ ('a' * 10000)|replace('a', 'b' * 10000)|replace('b', 'c' * 10000)|length }}",
        "{{ ('a\n' * 10000)|indent(100000)|length }}",
        "{{ range(100000)|join('x' * 10000)|length }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ range(10)|batch(1000000000)|list|length }}",
        "{{ range(10)|slice(1000000000)|list|length }}",
        "{% set a = 'a' * 500000 %}{% for i in range(9999) %}{% if a ~ 'x' == a ~ 'y' %}{% endif %}{% endfor %}",
        "{{ ([0] * 100000000)|length }}",
        "{{ range(100000)|list|sort|reverse|list|unique|list|length }}",
        "{% set l = range(5000)|list %}{% for i in l %}{% for j in l %}{% if i in l %}{% endif %}{% endfor %}{% endfor %}",
    ];
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
    for template in templates {
        let begun = Instant::now();
        let answer = pod.tool("json_transform", &json!({"template": template, "data": {}}));
        assert!(answer.is_documented(), "{template}: {answer:?}");
        assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{template}: {:?}", begun.elapsed());
    }
    pod.survives();
}

/// Texts that are all beginnings of values and none: what a scan that looks back pays for again and again.
fn adversarial() -> Vec<(&'static str, String)> {
    let units = [
        ("digits", "1 "),
        ("dashes", "1-"),
        ("colons", "1:"),
        ("double colons", "::"),
        ("addresses", "1.1."),
        ("at", "a@"),
        ("domains", "x@x.x"),
        ("dots", "a."),
        ("plus", "+1-"),
        ("accounts", "DE89 "),
        ("phones", "tel 1"),
        ("parentheses", "(1) "),
        ("cards", "4111 1111 1111 111"),
        ("wide digits", "\u{ff11} "),
        ("joiners", "1\u{200b}"),
        ("escapes", "\\u0031"),
        ("backslashes", "\\"),
        ("marks", "e\u{301}"),
        ("faces", "\u{1f600}"),
        ("underscores", "_"),
    ];
    units.into_iter().map(|(name, unit)| (name, unit.repeat(200_000 / unit.len()))).collect()
}

#[test]
fn texts_of_beginnings_are_scanned_in_time() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), PII));
    for (name, text) in adversarial() {
        let begun = Instant::now();
        let answer = pod.run("a", &json!({"query": text}));
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert!(begun.elapsed() < slow(Duration::from_secs(1)), "{name}: {:?}", begun.elapsed());
    }
    pod.survives();
}

#[test]
fn two_callers_with_a_long_text_do_not_stop_the_pod() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), PII));
    let text = "1 ".repeat(400_000);
    let begun = Instant::now();
    scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let answer = pod.run("a", &json!({"query": text}));
                assert!(answer.is_documented(), "{answer:?}");
            });
        }
    });
    assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{:?}", begun.elapsed());
    pod.survives();
}

#[test]
fn long_pieces_of_a_model_are_scanned_in_time() {
    let model = Model::start(|request, out| {
        let unit = if request.to_string().contains("well") { "hello " } else { "1 1 1 1 " };
        let pieces = if unit == "hello " { 1 } else { 4 };
        write!(out, "{EVENTS}")?;
        for _ in 0..pieces {
            out.write_all(token(&unit.repeat(if pieces == 1 { 1 } else { 50_000 })).as_bytes())?;
        }
        out.write_all(END.as_bytes())
    });
    let pod = Pod::serve(&one_agent(&model.url(), PII));
    for stream in [false, true] {
        let begun = Instant::now();
        let answer = pod.run("a", &json!({"query": "x", "stream": stream}));
        assert!(answer.is_documented(), "{answer:?}");
        assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{:?}", begun.elapsed());
    }
    pod.survives();
}

/// A schema that doubles forty times by references.
fn doubling() -> Value {
    let twice = |level: usize| {
        let next = json!({"$ref": format!("#/$defs/s{}", level + 1)});
        (format!("s{level}"), json!({"allOf": [next, next]}))
    };
    let mut levels: serde_json::Map<_, _> = (0..40).map(twice).collect();
    levels.insert("s40".to_owned(), json!({"type": "object"}));
    json!({"$ref": "#/$defs/s0", "$defs": levels})
}

#[test]
fn a_schema_that_doubles_is_refused_or_answered() {
    let schema = doubling();
    let tool = format!("  tools:\n    - {{name: t, type: client, parameters: {schema}}}\n");
    let model = Model::start(|request, out| match request["tools"].is_array() {
        true => call(request, out, "t", "{}"),
        false => crate::model::hello(out),
    });
    let pod = Pod::serve(&(one_agent(&model.url(), "") + &agent("bad", "x", &tool)));
    let begun = Instant::now();
    drop(pod.run("bad", &json!({"query": "x"})));
    drop(pod.send("/v1/tools/execute", json!({"agent": "bad", "tool": "t", "arguments": {}}).to_string()));
    let own = json!({"model": "a", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function", "function": {"name": "t", "parameters": schema}}]});
    let answer = pod.send("/v1/chat/completions", own.to_string());
    assert!(answer.is_documented(), "{answer:?}");
    let shaped = json!({"model": "a", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let answer = pod.send("/v1/chat/completions", shaped.to_string());
    assert!(answer.is_documented(), "{answer:?}");
    assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{:?}", begun.elapsed());
    pod.survives();
}

#[test]
fn patterns_by_the_thousand_do_not_stop_the_doors() {
    let pattern = |i: usize| format!("'\\w{{1,256}}{i}'");
    let list: Vec<_> = (0..64).map(pattern).collect();
    let rule = format!("{{type: content_filter, patterns: [{}]}}", list.join(", "));
    let rules: Vec<_> = (0..16).map(|_| rule.clone()).collect();
    let guardrails = format!("  guardrails: {{input: [{0}], output: [{0}]}}\n", rules.join(", "));
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    std::fs::write(pod.folder.path().join("bad.yaml"), agent("bad", "x", &guardrails)).unwrap();
    let named = |state: &Value| state.to_string().contains("bad");
    let begun = Instant::now();
    while begun.elapsed() < slow(Duration::from_secs(3)) && !named(&pod.state()) {
        assert_eq!(pod.run("a", &json!({"query": "x"})).status, 200);
        sleep(Duration::from_millis(20));
    }
    pod.survives();
}

#[test]
fn a_schema_full_of_patterns_of_a_caller_is_bounded() {
    let properties: serde_json::Map<_, _> =
        (0..500).map(|i| (format!("p{i}"), json!({"type": "string", "pattern": format!("\\w{{1,256}}{i}")}))).collect();
    let schema = json!({"type": "object", "properties": properties});
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let begun = Instant::now();
    for _ in 0..3 {
        let body = json!({"model": "a", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
        let answer = pod.send("/v1/chat/completions", body.to_string());
        assert!(answer.is_documented(), "{answer:?}");
    }
    assert!(begun.elapsed() < slow(Duration::from_secs(6)), "{:?}", begun.elapsed());
    until("an end", || pod.state()["inFlight"] == 0);
    pod.survives();
}
