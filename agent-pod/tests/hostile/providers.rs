//! Model servers and web services that answer what they should not.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Answer;
use crate::manifests::{MEMORY, agent, one_agent, provider};
use crate::model::{END, EVENTS, JSON, Model, call, hello, token};
use crate::pod::{Pod, slow};

/// A pod whose agent `hit` has the hostile server, while agent `a` has a polite one.
fn beside(url: &str, more: &str) -> (Model, Pod) {
    let model = Model::polite();
    let hostile = provider(url).replace("name: p}", "name: hostile}");
    let hit = agent("hit", "You are hit.", more).replace("name: p}", "name: hostile}");
    let pod = Pod::serve(&(one_agent(&model.url(), "") + &hostile + &hit));
    (model, pod)
}

fn asks(
    script: impl Fn(&Value, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    more: &str,
) -> Vec<Answer> {
    let server = Model::start(script);
    let (_model, pod) = beside(&server.url(), more);
    let answers: Vec<_> =
        [false, true].map(|stream| pod.run("hit", &json!({"query": "x", "stream": stream}))).into_iter().collect();
    for answer in &answers {
        assert!(answer.is_documented(), "{answer:?}");
    }
    pod.survives();
    answers
}

#[test]
fn floods_of_a_model_server_are_bounded() {
    asks(
        |_, out| {
            write!(out, "{EVENTS}data: ")?;
            (0..100).try_for_each(|_| out.write_all(&[b'a'; 1 << 20]))
        },
        "",
    );
    asks(
        |_, out| {
            write!(out, "{EVENTS}")?;
            (0..30).try_for_each(|_| out.write_all(&[b'\n'; 1 << 20]))?;
            out.write_all(END.as_bytes())
        },
        "",
    );
    asks(
        |_, out| {
            write!(out, "{EVENTS}")?;
            (0..300).try_for_each(|_| out.write_all(token("a").repeat(1_000).as_bytes()))?;
            out.write_all(END.as_bytes())
        },
        "",
    );
    asks(
        |_, out| {
            write!(
                out,
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{{\"error\":["
            )?;
            (0..50).try_for_each(|_| out.write_all("0,".repeat(1 << 19).as_bytes()))
        },
        "",
    );
    asks(
        |_, out| {
            write!(out, "HTTP/1.1 200 OK\r\n")?;
            (0..100_000).try_for_each(|i| write!(out, "x-{i}: y\r\n"))
        },
        "",
    );
    asks(
        |_, out| {
            write!(out, "HTTP/1.1 200 OK\r\nx: ")?;
            (0..100).try_for_each(|_| out.write_all(&[b'y'; 1 << 20]))
        },
        "",
    );
}

#[test]
fn a_hundred_thousand_tool_calls_are_cut_to_what_is_carried_out() {
    let tools = "  tools: [{name: calculator, type: internal}]\n";
    asks(
        |_, out| {
            write!(out, "{EVENTS}")?;
            for part in 0..100 {
                let calls: Vec<_> = (0..1_000)
                .map(|i| json!({"index": part * 1_000 + i, "id": format!("c{part}_{i}"), "function": {"name": "calculator", "arguments": "{\"expression\":\"1+1\"}"}}))
                .collect();
                write!(out, "data: {}\n\n", json!({"choices": [{"delta": {"tool_calls": calls}}]}))?;
            }
            write!(
                out,
                "data: {}\n\ndata: [DONE]\n\n",
                json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
            )
        },
        tools,
    );
    asks(
        |_, out| {
            let far = json!({"choices": [{"delta": {"tool_calls": [{"index": 4_000_000_000_u32, "id": "c", "function": {"name": "calculator", "arguments": "{}"}}]}}]});
            let end = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
            write!(out, "{EVENTS}data: {far}\n\ndata: {end}\n\ndata: [DONE]\n\n")
        },
        tools,
    );
}

#[test]
fn arguments_that_swell_are_bounded() {
    let arguments = format!("{{\"template\":\"x\",\"data\":[{}0]}}", "0,".repeat(400_000));
    let tools = "  tools: [{name: json_transform, type: internal}]\n";
    asks(
        move |_, out| {
            let calls = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "json_transform", "arguments": arguments}}]}}]});
            let end = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
            write!(out, "{EVENTS}data: {calls}\n\ndata: {end}\n\ndata: [DONE]\n\n")
        },
        tools,
    );
}

#[test]
fn hostile_numbers_of_tokens_break_no_books() {
    for usage in [
        "{\"prompt_tokens\":18446744073709551615,\"completion_tokens\":18446744073709551615}",
        "{\"prompt_tokens\":-1,\"completion_tokens\":1.5}",
        "{\"prompt_tokens\":1e30}",
        "null",
        "[]",
        "\"9\"",
    ] {
        let usage = usage.to_owned();
        let server = Model::start(move |_, out| {
            let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
            write!(
                out,
                "{EVENTS}{}data: {end}\n\ndata: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n",
                token("x")
            )
        });
        let polite = Model::polite();
        let limited = provider(&server.url())
            .replace("name: p}", "name: hostile}")
            .replace("---\n", "  rateLimit: {tokensPerMinute: 30}\n---\n");
        let hit = agent("hit", "You are hit.", "").replace("name: p}", "name: hostile}");
        let pod = Pod::serve(&(one_agent(&polite.url(), "") + &limited + &hit));
        for stream in [false, true, false] {
            let answer = pod.run("hit", &json!({"query": "x", "stream": stream}));
            assert!(answer.is_documented(), "{answer:?}");
        }
        pod.survives();
    }
}

#[test]
fn a_server_that_drips_is_left_at_the_deadline() {
    for head in ["", EVENTS, JSON] {
        let server = Model::start(move |_, out| {
            write!(out, "{head}")?;
            for byte in "HTTP/1.1 200 OK\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy".bytes() {
                out.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(())
        });
        let (_model, pod) = beside(&server.url(), "  orchestration: {timeout: 2s}\n");
        let begun = Instant::now();
        let answer = pod.run("hit", &json!({"query": "x"}));
        assert!(answer.is_documented(), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(2) + slow(Duration::from_millis(500)), "{:?}", begun.elapsed());
        pod.survives();
    }
}

#[test]
fn results_of_tools_are_bounded() {
    let results: [fn(&mut TcpStream) -> std::io::Result<()>; 2] = [
        |out| {
            write!(out, "{JSON}[\"")?;
            (0..100).try_for_each(|_| out.write_all(&[b'a'; 1 << 20]))
        },
        |out| write!(out, "{JSON}[{}0]", "0,".repeat(520_000)),
    ];
    for result in results {
        let web = Model::start(move |_, out| result(out));
        let tools = format!("  tools: [{{name: w, type: webhook, webhook: {{url: \"{}\"}}}}]\n{MEMORY}", web.base());
        let server = Model::start(|request, out| call(request, out, "w", "{}"));
        let (_model, pod) = beside(&server.url(), &tools);
        std::thread::scope(|threads| {
            for _ in 0..16 {
                threads.spawn(|| {
                    let answer = pod.run("hit", &json!({"query": "x"}));
                    assert!(answer.is_documented(), "{answer:?}");
                });
            }
        });
        pod.survives();
    }
}

#[test]
fn metadata_addresses_are_never_called() {
    for address in [
        "192.0.0.192",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fd00:ec2::23]",
        "[64:ff9b::a9fe:a9fe]",
        "[::ffff:169.254.169.254]",
        "100.100.100.200",
    ] {
        let model = Model::polite();
        let tools =
            format!("  tools: [{{name: w, type: webhook, timeout: 1s, webhook: {{url: \"http://{address}/\"}}}}]\n");
        let pod = Pod::serve(&(one_agent(&model.url(), "") + &agent("hit", "x", &tools)));
        let called = pod.send("/v1/tools/execute", json!({"agent": "hit", "tool": "w", "arguments": {}}).to_string());
        let refused = called.status == 404
            || called.json()["error"]
                .as_str()
                .is_some_and(|error| error.contains("metadata") || error.contains("link-local"));
        assert!(refused, "{address}: {called:?}");
        pod.survives();
    }
}

#[test]
fn a_reply_that_ends_a_run_leaves_the_next_alone() {
    let answers = asks(|_, out| hello(out), "");
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[test]
fn structured_answers_and_plans_that_swell_are_bounded() {
    let zeros = ["[".to_owned(), "0,".repeat(30_000), "0]".to_owned()];
    let step = "{\"title\":\"t\",\"task\":\"x\"}";
    let plan = ["{\"steps\":[".to_owned(), format!("{step},").repeat(2_000), format!("{step}]}}")];
    let swelling = [
        ("  outputSchema: {type: array}\n", zeros),
        ("  orchestration: {pattern: plan_and_execute, timeout: 10s}\n", plan),
    ];
    for (more, [begin, part, end]) in swelling {
        let server = Model::start(move |_, out| {
            let (begin, part, end) = (token(&begin), token(&part), token(&end));
            out.write_all(format!("{EVENTS}{begin}{}{end}{END}", part.repeat(60)).as_bytes())
        });
        let (_model, pod) = beside(&server.url(), more);
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    let answer = pod.run("hit", &json!({"query": "x"}));
                    assert!(answer.is_documented(), "{}", answer.status);
                });
            }
        });
        pod.survives();
    }
}
