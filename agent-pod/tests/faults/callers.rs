//! Callers that go away or do not read: nothing goes on without them, and no provider is blamed.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::model_server::ModelServer;
use crate::reply::Reply;
use crate::world::{World, agent, provider, until};

/// The goal is 100 ms; the rest is for machines that run many tests at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long a caller reads.
#[derive(Clone, Copy, PartialEq)]
enum Leaves {
    /// As soon as the provider has been called.
    Early,
    /// After this text of its events.
    After(&'static str),
}

#[rstest]
#[case::before_the_head(Reply::silence(), false, Leaves::Early, false)]
#[case::before_the_head_of_a_stream(Reply::silence(), true, Leaves::After("event: status"), false)]
#[case::before_the_first_token(Reply::stream().and(Reply::silence()), false, Leaves::Early, false)]
#[case::before_the_first_token_of_a_stream(Reply::stream().and(Reply::silence()), true, Leaves::After("event: status"), false)]
#[case::in_the_middle_of_a_stream(Reply::stream().text("It ").and(Reply::silence()), true, Leaves::After("event: token"), true)]
#[case::in_a_flood(Reply::stream().flood(), true, Leaves::After("event: token"), true)]
#[tokio::test]
async fn a_caller_that_goes_away_takes_the_call_along(
    #[case] reply: Reply,
    #[case] stream: bool,
    #[case] leaves: Leaves,
    #[case] booked: bool,
) {
    let server = ModelServer::start([reply]).await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 1}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    let left = leave(&world, &server, stream, leaves).await;
    let gone = server.await_hang_up(0).await.saturating_duration_since(left);
    assert!(gone < AT_ONCE, "the provider's connection was open for {gone:?}");
    world.idle().await;
    until("the booking", async || world.tries("p", "cancelled").await == 1.0).await;
    assert_eq!(world.metric("astromesh_agent_runs_total", &["outcome=\"cancelled\""]).await, 1.0);
    assert_eq!(world.tokens("p", "output").await > 0.0, booked);
    let state = world.provider("p").await;
    assert_eq!((&state["circuit"], state["lastError"].is_null()), (&json!("closed"), true));
    assert_eq!(server.count(), 1);
}

/// Calls and goes away; gives the time of leaving.
async fn leave(world: &World, server: &ModelServer, stream: bool, leaves: Leaves) -> Instant {
    let calling = world.pod.ask("asked", &json!({"query": "hi", "stream": stream})).send();
    let Leaves::After(text) = leaves else {
        tokio::select! {
            answer = calling => panic!("answered: {answer:?}"),
            () = server.await_calls(1) => {}
        }
        return Instant::now();
    };
    let (mut response, mut seen) = (calling.await.unwrap(), String::new());
    while !seen.contains(text) {
        seen.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    server.await_calls(1).await;
    drop(response);
    Instant::now()
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_queue_leaves_its_place() {
    let server = ModelServer::start([Reply::gate().and(Reply::answer("fine"))]).await;
    let spec = json!({"runtime": {"maxConcurrentRuns": 1}});
    let world = World::of([provider("p", &server.url(), json!({})), agent("asked", &["p"], spec)]).await;
    let first = world.run("asked");
    let rest = async {
        server.await_calls(1).await;
        tokio::select! {
            answer = world.run("asked") => panic!("answered: {answer:?}"),
            _ = world.pod.await_state("the queue", |state| state["queued"] == 1) => {}
        }
        world.pod.await_state("an empty queue", |state| state["queued"] == 0 && state["inFlight"] == 1).await;
        server.release(2);
    };
    assert_eq!(tokio::join!(first, rest).0.text(), "fine");
    assert_eq!(world.run("asked").await.text(), "fine");
    assert_eq!(server.count(), 2, "the one that left was never passed on");
}

/// Nobody asks for the events of a run while its connection cannot be written to, so that its deadline would not come.
#[tokio::test]
async fn a_caller_that_reads_no_more_is_cut_off_with_its_run() {
    let server = ModelServer::start([Reply::stream().flood()]).await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 1}, "timeouts": {"stall": "200ms"}});
    let asked = agent("asked", &["p"], json!({}));
    let world = World::with(&[("ASTROMESH_WRITE_TIMEOUT", "1")], [provider("p", &server.url(), spec), asked]).await;
    let mut caller = short_of_room(world.pod.api.strip_prefix("http://").unwrap()).await;
    let body = json!({"query": "hi", "stream": true}).to_string();
    let length = body.len();
    let head = "POST /v1/agents/asked/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    caller.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes()).await.unwrap();
    assert!(caller.read_u8().await.is_ok());
    // From here on nobody reads, and the caller keeps the connection open.
    server.await_hang_up(0).await;
    world.idle().await;
    let ended = "outcome=\"cancelled\"";
    until("the booking", async || world.metric("astromesh_agent_runs_total", &[ended]).await == 1.0).await;
    assert!(world.tokens("p", "output").await > 0.0, "what came is booked");
    let state = world.provider("p").await;
    assert_eq!(
        (&state["circuit"], state["lastError"].is_null()),
        (&json!("closed"), true),
        "the provider is not blamed"
    );
    drop(caller);
}

/// A connection whose receive buffer does not grow: the kernel could take a whole reply for a caller that does not read.
async fn short_of_room(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}
