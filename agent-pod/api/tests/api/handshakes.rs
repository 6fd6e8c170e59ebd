//! What the headers of a WebSocket's handshake say of the runs on it.

use std::time::Duration;

use agent_pod_core::service::RunOptions;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::Request;

use crate::client::{Client, Server, state, within};
use crate::fake::{FakeAgents, done};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn handshake(server: &Server, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = format!("ws://{}/v1/ws/agent/support", server.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn each_run_has_the_trace_and_the_deadline_of_the_handshake() {
    let agents = FakeAgents::support();
    let server = Server::start(state(agents.clone())).await;
    let request = handshake(&server, &[("traceparent", TRACE), ("x-request-timeout-ms", "1500")]);
    let mut client = Client(within(connect_async(request)).await.unwrap().0);
    for _run in 0..2 {
        agents.play([done("ok")]);
        client.say(r#"{"query": "q"}"#).await;
        client.hear().await;
    }
    let expected = RunOptions {
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        timeout: Some(Duration::from_millis(1500)),
        streaming: true,
        attended: true,
        ..RunOptions::default()
    };
    let options: Vec<_> = agents.starts().into_iter().map(|(_, _, options)| options).collect();
    assert_eq!(options, [expected.clone(), expected]);
}

#[tokio::test]
async fn a_deadline_that_is_none_refuses_the_handshake() {
    let server = Server::start(state(FakeAgents::support())).await;
    let outcome = within(connect_async(handshake(&server, &[("x-request-timeout-ms", "soon")]))).await;
    let Err(Error::Http(response)) = outcome else { panic!("{outcome:?}") };
    let body: serde_json::Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
    assert_eq!((response.status().as_u16(), &body["error"]["code"]), (422, &"validation_failed".into()));
}
