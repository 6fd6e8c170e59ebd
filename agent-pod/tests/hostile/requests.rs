//! HTTP as nobody should speak it.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, beginning, connect, exchange, get, post, read_all};
use crate::manifests::{MEMORY, PII, TOOLS, one_agent};
use crate::model::Model;
use crate::pod::{Pod, slow};

fn pod() -> (Model, Pod) {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), &format!("{TOOLS}{MEMORY}{PII}")));
    (model, pod)
}

#[test]
fn only_who_names_this_machine_reads_what_loopback_may_read() {
    let (_model, pod) = pod();
    assert_eq!(pod.run("a", &json!({"query": "x", "sessionId": "s"})).status, 200);
    let path = "/v1/memory/a/history/s";
    let plain = |host: &str| format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    for host in ["127.0.0.1", "localhost", &pod.api.to_string(), "[::1]:8080"] {
        assert_eq!(exchange(pod.api, plain(&format!("Host: {host}\r\n")).as_bytes()).status, 200, "{host}");
    }
    let foreign = [
        plain("Host: evil.example\r\n"),
        plain("Host: evil.example:8080\r\n"),
        plain("Host: 127.0.0.1.evil.example\r\n"),
        plain("Host: localhost.evil.example\r\n"),
        plain("Host: 127.0.0.1@evil.example\r\n"),
        plain("Host: \r\n"),
        plain(""),
        plain("Host: 127.0.0.1\r\nHost: evil.example\r\n"),
        plain("Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n"),
        format!("GET http://evil.example{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"),
    ];
    for request in foreign {
        let answer = exchange(pod.api, request.as_bytes());
        assert!((400..500).contains(&answer.status), "{request}: {answer:?}");
        let admin = exchange(pod.admin, request.replace(path, "/internal/state").as_bytes());
        assert!((400..500).contains(&admin.status), "{request}: {}", admin.status);
    }
    pod.survives();
}

#[test]
fn broken_requests_get_an_answer_or_the_end_of_their_connection() {
    let (_model, pod) = pod();
    let body = "{\"query\":\"x\"}";
    let head =
        "POST /v1/agents/a/run HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let requests = [
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nd\r\n{body}\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\nd\r\n{body}\r\n0\r\n\r\n"),
        format!("{head}Content-Length: 13\r\nContent-Length: 14\r\n\r\n{body}"),
        format!("{head}Content-Length: +13\r\n\r\n{body}"),
        format!("{head}Content-Encoding: gzip\r\nContent-Length: 13\r\n\r\n{body}"),
        format!("{chunked}d;{}\r\n{body}\r\n0\r\n\r\n", "x".repeat(20_000)),
        format!("{chunked}-1\r\n{body}\r\n0\r\n\r\n"),
        format!("{chunked}d\r\n{body}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(20_000)),
        format!("GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", "a: b\r\n".repeat(50_000)),
        format!("GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\na: {}\r\n\r\n", "b".repeat(1_000_000)),
        format!("GET /v1/agents/{} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", "b".repeat(1_000_000)),
        format!("{} / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", "FOO".repeat(100)),
        "CONNECT a:80 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let answer = exchange(pod.api, request.as_bytes());
        assert!(!matches!(answer.status, 500 | 502..), "{}: {answer:?}", beginning(&request));
    }
    for path in [
        "/v1/agents/a%00b",
        "/v1/agents/..%2f..%2fetc",
        "/v1/agents/%ff%fe%zz",
        "/v1/memory/a/history/s?limit=1e9",
        "/v1/memory/a/history/s?limit=1000000000",
        "/v1/memory/a/history/s?limit=-1",
        "/v1/memory/a/history/s?limit=1&limit=2",
        "/v1/memory/a/semantic?query=x&topK=1000000000",
        "/v1/tools?agent=%00",
        "//v1//agents",
        "/v1/agents?x=%zz",
    ] {
        let answer = exchange(pod.api, &get(path, ""));
        assert!((200..500).contains(&answer.status), "{path}: {answer:?}");
    }
    let cursor = "z".repeat(5_000);
    let answer = exchange(pod.api, &get(&format!("/v1/memory/a/history/s?cursor={cursor}"), ""));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    pod.survives();
}

#[test]
fn odd_bodies_get_a_documented_answer() {
    let (_model, pod) = pod();
    let keys: String = (0..100_000).map(|i| format!("\"k{i}\":{i},")).collect();
    let bodies: Vec<Vec<u8>> = vec![
        b"".into(),
        b"{\"query\":\"a\",\"query\":\"b\"}".into(),
        b"{\"query\":\"\\ud800\"}".into(),
        b"{\"query\":\"a\\u0000b\",\"sessionId\":\"s\\u0000t\"}".into(),
        "{\"query\":\"\u{202e}abc\u{2066}\"}".into(),
        b"{\"query\":\"\xff\xfe\"}".into(),
        b"\xef\xbb\xbf{\"query\":\"x\"}".into(),
        [b"{\"query\":\"x\",\"context\":{\"a\":".as_slice(), &[b'9'; 1_000_000], b"}}"].concat(),
        b"{\"query\":\"x\",\"context\":{\"a\":1e999999999}}".into(),
        format!("{{\"query\":\"x\",\"context\":{{{keys}\"z\":0}}}}").into(),
        format!("{{{keys}\"query\":\"x\"}}").into(),
        format!("{{\"query\":\"x\",\"sessionId\":\"{}\"}}", "s".repeat(100_000)).into(),
        json!({"query": "x", "images": vec!["data:image/png;base64,AAAA"; 2_000]}).to_string().into(),
        [[b' '; 1_000_000].as_slice(), b"{\"query\":\"x\"}"].concat(),
    ];
    for body in bodies {
        let answer = pod.send("/v1/agents/a/run", &body);
        assert!(answer.is_documented(), "{}: {answer:?}", String::from_utf8_lossy(&body[..60.min(body.len())]));
    }
    let chats = [
        json!({"model": "a", "messages": vec![json!({"role": "user", "content": "x"}); 100_000]}),
        json!({"model": "a".repeat(1_000_000), "messages": [{"role": "user", "content": "x"}]}),
        json!({"model": "a", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1e30}),
        json!({"model": "a", "messages": [{"role": "user", "content": "x"}], "temperature": 1e308, "n": 1e9}),
    ];
    for chat in chats {
        let answer = pod.send("/v1/chat/completions", chat.to_string());
        assert!(answer.is_documented(), "{answer:?}");
    }
    pod.survives();
}

#[test]
fn a_body_of_single_byte_chunks_is_read_or_refused_in_time() {
    let (_model, pod) = pod();
    let body: String = format!("{{\"query\":\"{}\"}}", "y".repeat(300_000));
    let head = "POST /v1/agents/a/run HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks: String = body.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let begun = Instant::now();
    let answer = exchange(pod.api, format!("{head}{chunks}0\r\n\r\n").as_bytes());
    assert!(answer.is_documented(), "{answer:?}");
    assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{:?}", begun.elapsed());
    pod.survives();
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_has_come() {
    let (_model, pod) = pod();
    let head = "POST /v1/agents/a/run HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000000000000\r\n\r\n";
    let begun = Instant::now();
    let mut stream = connect(pod.api);
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b'{'; 1000]).unwrap();
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    assert!(begun.elapsed() < slow(Duration::from_secs(1)), "{:?}", begun.elapsed());
    pod.survives();
}

/// A frame of HTTP/2.
fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header of HPACK as a literal that nobody indexes.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn floods_of_http2_frames_are_no_load() {
    let (_model, pod) = pod();
    let headers = [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", "/v1/agents/a/run"),
        literal(":authority", "127.0.0.1"),
        literal("content-type", "application/json"),
    ]
    .concat();
    let settings = h2(4, 0, 0, &[]);
    let begin = [PREFACE, &settings].concat();
    let opened_and_reset: Vec<u8> = (0..20_000_u32)
        .flat_map(|i| [h2(1, 4, 2 * i + 1, &headers), h2(3, 0, 2 * i + 1, &[0, 0, 0, 8])].concat())
        .collect();
    let endless_headers = [h2(1, 0, 1, &headers), h2(9, 0, 1, &literal("a", "b")).repeat(50_000)].concat();
    let no_window = [
        h2(4, 0, 0, &[0, 4, 0, 0, 0, 0]),
        (0..200_u32)
            .flat_map(|i| {
                [h2(1, 4, 2 * i + 1, &headers), h2(0, 1, 2 * i + 1, b"{\"query\":\"x\",\"stream\":true}")].concat()
            })
            .collect(),
    ]
    .concat();
    for flood in [
        opened_and_reset,
        endless_headers,
        settings.repeat(100_000),
        h2(6, 0, 0, &[0; 8]).repeat(100_000),
        h2(2, 0, 1, &[0; 5]).repeat(100_000),
        h2(8, 0, 0, &[0, 0, 0, 1]).repeat(100_000),
        h2(0, 0, 1, &[]).repeat(100_000),
        no_window,
    ] {
        let mut stream = connect(pod.api);
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        drop(stream.write_all(&[&begin[..], &flood].concat()));
        drop(read_all(&mut stream));
    }
    pod.survives();
}

#[test]
fn http2_names_its_host_too() {
    let (_model, pod) = pod();
    let ask = |authority: &[Vec<u8>]| {
        let mut headers =
            [literal(":method", "GET"), literal(":scheme", "http"), literal(":path", "/v1/agents/a")].concat();
        headers.extend(authority.concat());
        let mut stream = connect(pod.api);
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        stream.write_all(&[PREFACE, &h2(4, 0, 0, &[]), &h2(1, 5, 1, &headers)].concat()).unwrap();
        let bytes = read_all(&mut stream);
        String::from_utf8_lossy(&bytes).contains("\"support\"")
            || String::from_utf8_lossy(&bytes).contains("\"revision\"")
    };
    assert!(ask(&[literal(":authority", "127.0.0.1")]), "the honest one is answered");
    assert!(!ask(&[literal(":authority", "evil.example")]));
    assert!(!ask(&[literal(":authority", "127.0.0.1"), literal("host", "evil.example")]));
    pod.survives();
}

#[test]
fn many_keys_and_sessions_are_no_load() {
    let (_model, pod) = pod();
    for i in 0..1_000 {
        let keyed = format!("Idempotency-Key: k{i}\r\n");
        let body = json!({"query": "x".repeat(2_000), "sessionId": format!("s{i}")}).to_string();
        let answer: Answer = exchange(pod.api, &post("/v1/agents/a/run", &keyed, body.as_bytes()));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    pod.survives();
}
