//! More than a pod takes on, and a pod that stops.

use std::time::{Duration, Instant};

use futures::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::model_server::ModelServer;
use crate::reply::Reply;
use crate::world::{Answer, World, agent, events_of, provider, until};

/// A server that answers when the test lets it, and a pod with an agent of these limits.
async fn gated(runtime: Value) -> (ModelServer, World) {
    let server = ModelServer::start([Reply::gate().and(Reply::answer("fine"))]).await;
    let asked = agent("asked", &["p"], json!({"runtime": runtime}));
    let world = World::of([provider("p", &server.url(), json!({})), asked]).await;
    (server, world)
}

async fn await_counts(world: &World, in_flight: u64, queued: u64) {
    world.pod.await_state("the queue", |state| state["inFlight"] == in_flight && state["queued"] == queued).await;
}

#[tokio::test]
async fn what_neither_runs_nor_waits_is_turned_away() {
    let (server, world) = gated(json!({"maxConcurrentRuns": 2, "maxQueuedRuns": 3, "queueTimeout": "60s"})).await;
    let admitted = join_all((0..5).map(|_| world.run("asked")));
    let (answers, ()) = tokio::join!(admitted, async {
        await_counts(&world, 2, 3).await;
        let refused = world.run("asked").await;
        refused.assert_error(429, "overloaded");
        assert_eq!((refused.retry_after, &refused.body["error"]["retryable"]), (Some(1), &json!(true)));
        let stream = world.pod.ask("asked", &json!({"query": "hi", "stream": true})).send().await.unwrap();
        Answer::read(stream).await.assert_error(429, "overloaded");
        assert_eq!(world.metric("astromesh_agent_runs_queued", &[]).await, 3.0);
        assert_eq!(server.count(), 2);
        server.release(5);
    });
    assert!(answers.iter().all(|answer| answer.text() == "fine"));
    world.idle().await;
    assert_eq!(server.count(), 5);
}

#[rstest]
#[case::its_own_time(json!({"queueTimeout": "200ms"}), 60_000, (429, "overloaded"))]
#[case::the_runs_deadline(json!({"queueTimeout": "60s"}), 200, (504, "deadline_exceeded"))]
#[tokio::test]
async fn nobody_waits_in_the_queue_beyond(
    #[case] queue: Value,
    #[case] milliseconds: u64,
    #[case] (status, code): (u16, &str),
) {
    let mut runtime = queue;
    runtime["maxConcurrentRuns"] = json!(1);
    let (server, world) = gated(runtime).await;
    let (first, ()) = tokio::join!(world.run("asked"), async {
        server.await_calls(1).await;
        let request = world.pod.ask("asked", &json!({"query": "hi"})).header("X-Request-Timeout-Ms", milliseconds);
        let refused = Answer::read(request.send().await.unwrap()).await;
        refused.assert_error(status, code);
        assert_eq!(refused.retry_after.is_some(), status == 429);
        await_counts(&world, 1, 0).await;
        server.release(1);
    });
    assert_eq!((first.text(), server.count()), ("fine", 1));
}

#[tokio::test]
async fn time_in_the_queue_is_time_of_the_run() {
    let (server, world) = gated(json!({"maxConcurrentRuns": 1, "queueTimeout": "60s"})).await;
    let begun = Instant::now();
    let (first, second, ()) = tokio::join!(
        world.run("asked"),
        async {
            server.await_calls(1).await;
            let request = world.pod.ask("asked", &json!({"query": "hi"})).header("X-Request-Timeout-Ms", "2000");
            Answer::read(request.send().await.unwrap()).await
        },
        async {
            await_counts(&world, 1, 1).await;
            until("most of its time", async || begun.elapsed() > Duration::from_millis(1_500)).await;
            server.release(1);
        }
    );
    assert_eq!(first.text(), "fine");
    second.assert_error(504, "deadline_exceeded");
    assert!(begun.elapsed() < Duration::from_millis(3_300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let (server, world) = gated(json!({"maxBodyBytes": 2048})).await;
    server.release(1);
    let ask = async |bytes: usize| {
        let request = world.pod.ask("asked", &json!({"query": "x".repeat(bytes)}));
        Answer::read(request.send().await.unwrap()).await
    };
    ask(2_048).await.assert_error(413, "body_too_large");
    let url = format!("{}/v1/agents/asked/run", world.pod.api);
    let pieces = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let unannounced = world.pod.http.post(url).body(reqwest::Body::wrap_stream(pieces));
    Answer::read(unannounced.send().await.unwrap()).await.assert_error(413, "body_too_large");
    assert_eq!(server.count(), 0);
    assert_eq!(ask(1_000).await.text(), "fine");
}

/// A client that reads nothing before it has sent everything, as most do.
#[rstest]
#[case::too_long("asked", "application/json", 413)]
#[case::for_nobody("nobody", "application/json", 404)]
#[case::of_the_wrong_type("asked", "text/plain", 415)]
#[tokio::test]
async fn whoever_is_refused_gets_to_read_it(#[case] agent: &str, #[case] content_type: &str, #[case] status: u16) {
    let (_server, world) = gated(json!({"maxBodyBytes": 2048})).await;
    let body = vec![b' '; 16 * 1024 * 1024];
    let address = world.pod.api.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/agents/{agent}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
}

/// Its caller is told at once, while it is still sending.
#[rstest]
#[case::announced("Content-Length: 1000000", b"", "asked", 413)]
#[case::without_an_end("Transfer-Encoding: chunked", b"400\r\n", "asked", 413)]
#[case::for_nobody("Transfer-Encoding: chunked", b"400\r\n", "nobody", 404)]
#[tokio::test]
async fn a_body_that_never_ends_is_refused_before_its_end(
    #[case] length: &str,
    #[case] chunk_head: &[u8],
    #[case] agent: &str,
    #[case] status: u16,
) {
    let (_server, world) = gated(json!({"maxBodyBytes": 2048})).await;
    let mut stream = TcpStream::connect(world.pod.api.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("POST /v1/agents/{agent}/run HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        // Every chunk is 1 KiB; one that announces its length sends nothing at all.
        let chunk = [chunk_head, [b' '; 1024].as_slice(), b"\r\n"].concat();
        while !chunk_head.is_empty() && writer.write_all(&chunk).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let begun = Instant::now();
    let answer = async {
        let mut answer = String::new();
        while !answer.contains("}}") {
            let mut piece = [0; 1024];
            let read = reader.read(&mut piece).await.unwrap();
            assert!(read > 0, "cut off: {answer}");
            answer.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        answer
    };
    let answer = tokio::select! { answer = answer => answer, () = sending => unreachable!() };
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains("connection: close"), "{answer}");
    // The rest is read for 5 s more; nobody waits for that.
    assert!(begun.elapsed() < Duration::from_millis(2_500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_pod_that_stops_loses_neither_a_run_nor_one_that_waits() {
    let (server, world) = gated(json!({"maxConcurrentRuns": 1, "queueTimeout": "60s"})).await;
    let World { pod, folder: _folder } = world;
    let ask = |stream: bool| pod.ask("asked", &json!({"query": "hi", "stream": stream})).send();
    let (first, second, ()) = tokio::join!(
        async { Answer::read(ask(false).await.unwrap()).await },
        async {
            server.await_calls(1).await;
            events_of(&ask(true).await.unwrap().text().await.unwrap())
        },
        async {
            pod.await_state("both", |state| state["inFlight"] == 1 && state["queued"] == 1).await;
            pod.terminate().await;
            pod.await_state("the drain", |state| state["draining"] == true).await;
            assert!(!pod.ready().await);
            until("a closed door", async || {
                pod.http.get(format!("{}/v1/health", pod.api)).send().await.is_err_and(|error| error.is_connect())
            })
            .await;
            server.release(2);
        }
    );
    assert_eq!((first.text(), &second.last().unwrap()["answer"]), ("fine", &json!("fine")));
    let (code, log) = pod.ended().await;
    assert_eq!((code, log.matches("\"run ended\"").count(), server.count()), (Some(0), 2, 2), "{log}");
}
