//! A pod survives all of it at once.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bytes::{silent, swelling, unfinished, withheld};
use crate::client::{exchange, post};
use crate::manifests::{MEMORY, TOOLS, one_agent};
use crate::model::{JSON, Model, hello};
use crate::pod::Pod;

/// How long it goes on.
const TIME: Duration = Duration::from_secs(15);

#[test]
fn all_at_once() {
    let zeros =
        format!("{{\"choices\":[{{\"message\":{{\"content\":\"x\"}}}}],\"extra\":[{}0]}}", "0,".repeat(7 << 20));
    let model = Model::start(move |request, out| match request.to_string().contains("zeros") {
        true => out.write_all(format!("{JSON}{zeros}").as_bytes()),
        false => hello(out),
    });
    let rules = "  guardrails: {input: [{type: pii_detection}], output: [{type: pii_detection}]}\n";
    // A reply of zeros is the server's fault, and three of them in a row open its circuit: not what is tried here.
    let patient = "  circuitBreaker: {failureThreshold: 100}\n---\n";
    let manifests = one_agent(&model.url(), &format!("{TOOLS}{MEMORY}{rules}")).replacen("---\n", patient, 1);
    let pod = Pod::serve(&manifests);
    let (bodies, over) = (swelling(), AtomicBool::new(false));
    let image = format!("data:image/png;base64,{}", "A".repeat(9 << 20));
    let keyed = format!("{{\"query\":\"x\",\"context\":{{\"a\":[{}0]}}}}", "0,".repeat(100_000));
    let templates = [
        "{% set ns = namespace(a=[0], b=[0]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "{% set ns = namespace(a=[0]) %}{% for i in range(50000) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
    ];
    let (held, sockets, quiet) = (withheld(&pod, 10), unfinished(&pod, 10), silent(&pod, 100));
    let going = || !over.load(Ordering::Relaxed);
    scope(|threads| {
        for half in 0..2 {
            let (bodies, pod) = (&bodies, &pod);
            threads.spawn(move || {
                for (path, body) in bodies.iter().skip(half).step_by(2).cycle() {
                    if !going() {
                        return;
                    }
                    drop(pod.send(path, body));
                }
            });
        }
        threads.spawn(|| {
            while going() {
                drop(pod.run("a", &json!({"query": "x", "sessionId": "s", "images": [image]})))
            }
        });
        threads.spawn(|| {
            while going() {
                drop(pod.run("a", &json!({"query": "1 ".repeat(400_000)})))
            }
        });
        threads.spawn(|| {
            while going() {
                drop(pod.run("a", &json!({"query": "zeros"})))
            }
        });
        for _ in 0..4 {
            threads.spawn(|| {
                while going() {
                    drop(exchange(pod.api, &post("/v1/agents/a/run", "Idempotency-Key: k\r\n", keyed.as_bytes())));
                }
            });
        }
        threads.spawn(|| {
            for template in templates.iter().cycle() {
                if !going() {
                    return;
                }
                drop(pod.tool("json_transform", &json!({"template": template, "data": {}})));
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < TIME {
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
    });
    drop((held, sockets, quiet));
    pod.survives();
}
