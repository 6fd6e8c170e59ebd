//! Whom a request names: one host, and this machine where it is trusted for coming from it.

use std::net::SocketAddr;

use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

async fn pod() -> (Pod, ModelServer, Folder) {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "hello", "");
    (Pod::on_folder(&folder, &[]).await, model, folder)
}

/// The status of the answer to these bytes.
async fn status(url: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("\r\n") {
        let mut piece = [0; 256];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "cut off: {answer}");
        answer.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_request_says_once_and_properly_whom_it_is_for() {
    let (pod, _model, _folder) = pod().await;
    for (url, path) in [(&pod.api, "/v1/health"), (&pod.admin, "/livez")] {
        for (hosts, expected) in [
            ("", "400"),
            ("Host: localhost\r\nHost: localhost\r\n", "400"),
            ("Host: a\r\nHost: b\r\n", "400"),
            ("Host:\r\n", "400"),
            ("Host: a b\r\n", "400"),
            ("Host: user@a\r\n", "400"),
            ("Host: a:b\r\n", "400"),
            ("Host: http://a/\r\n", "400"),
            ("Host: pod:8080\r\n", "200"),
            ("host: [::1]\r\n", "200"),
        ] {
            assert_eq!(status(url, &format!("GET {path} HTTP/1.1\r\n{hosts}\r\n")).await, expected, "{path} {hosts:?}");
        }
        assert_eq!(status(url, &format!("GET {path} HTTP/1.0\r\n\r\n")).await, "200", "HTTP/1.0 has no Host");
    }
}

/// DNS rebinding: a page of another site whose name resolves to this machine by now.
#[rstest]
#[case::by_name("localhost", "", "200")]
#[case::by_name_and_port("localhost:8080", "", "200")]
#[case::by_a_name_below("agents.localhost:8080", "", "200")]
#[case::by_address("127.0.0.1:8080", "", "200")]
#[case::by_the_sixth_protocols_address("[::1]:8080", "", "200")]
#[case::by_another_name("evil.example:8080", "", "401")]
#[case::by_one_that_begins_alike("localhost.evil.example", "", "401")]
#[case::by_an_address_of_elsewhere("10.0.0.7", "", "401")]
#[case::by_its_own_page("localhost:8080", "Origin: http://localhost:8080\r\n", "200")]
#[case::by_a_page_of_elsewhere("localhost:8080", "Origin: https://evil.example\r\n", "401")]
#[tokio::test]
async fn only_who_calls_this_machine_by_its_name_is_trusted(
    #[case] host: &str,
    #[case] origin: &str,
    #[case] expected: &str,
) {
    let (pod, _model, _folder) = pod().await;
    for (url, path) in [(&pod.api, "/v1/agents"), (&pod.api, "/v1/agents/support"), (&pod.admin, "/internal/state")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
        assert_eq!(status(url, &request).await, expected, "{path}");
        // A target in absolute form is what counts, and the header may say no more than it.
        let request = format!("GET http://{host}{path} HTTP/1.1\r\nHost: localhost\r\n{origin}\r\n");
        assert_eq!(status(url, &request).await, expected, "{path} in absolute form");
    }
    // The rest needs no trust.
    assert_eq!(status(&pod.admin, &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n")).await, "200");
}

#[tokio::test]
async fn the_authority_of_http_2_is_the_same_name() {
    let (pod, _model, _folder) = pod().await;
    for (url, path) in [(&pod.api, "/v1/agents"), (&pod.admin, "/internal/state")] {
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
        let http = http.resolve("evil.example", address).resolve("a.localhost", address).build().unwrap();
        for (host, expected) in [("evil.example", 401), ("a.localhost", 200), ("127.0.0.1", 200)] {
            let answer = http.get(format!("http://{host}:{}{path}", address.port())).send().await.unwrap();
            assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, expected), "{host}");
        }
    }
    // A run as well.
    let address: SocketAddr = pod.api.strip_prefix("http://").unwrap().parse().unwrap();
    let http = reqwest::Client::builder().no_proxy().resolve("evil.example", address).build().unwrap();
    let url = format!("http://evil.example:{}/v1/agents/support/run", address.port());
    assert_eq!(http.post(url).json(&json!({"query": "hi"})).send().await.unwrap().status(), 401);
}
