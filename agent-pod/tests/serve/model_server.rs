//! A model server that echoes: its answer is the system prompt that it was given, and it remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

#[derive(Clone)]
struct Shared {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// A stream sends its second half when it gets a permit.
    gate: Arc<Semaphore>,
    /// Streams that were given up by their reader.
    dropped: Arc<Semaphore>,
}

/// The server; it ends when it is dropped.
pub(crate) struct ModelServer {
    pub(crate) url: String,
    shared: Shared,
    _task: JoinSet<()>,
}

impl ModelServer {
    /// A server whose streams do not wait.
    pub(crate) async fn start() -> Self {
        Self::with_permits(Semaphore::MAX_PERMITS).await
    }

    /// A server whose streams stop half way until [`ModelServer::open_gate`].
    pub(crate) async fn gated() -> Self {
        Self::with_permits(0).await
    }

    async fn with_permits(permits: usize) -> Self {
        let shared = Shared {
            asked: Arc::default(),
            gate: Arc::new(Semaphore::new(permits)),
            dropped: Arc::new(Semaphore::new(0)),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/embeddings", post(embed))
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, _task: task }
    }

    pub(crate) fn open_gate(&self) {
        self.shared.gate.add_permits(1);
    }

    /// Waits until a reader has given up its stream.
    pub(crate) async fn reader_gone(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.shared.dropped.acquire()).await.unwrap().unwrap().forget();
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

struct TellDrop(Arc<Semaphore>, bool);

impl Drop for TellDrop {
    fn drop(&mut self) {
        if !self.1 {
            self.0.add_permits(1);
        }
    }
}

async fn complete(State(shared): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let authorization = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let system = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    shared.asked.lock().unwrap().push(Asked { authorization, body });
    let middle = system.char_indices().nth(system.chars().count() / 2).map_or(0, |(i, _)| i);
    let (first, second) = system.split_at(middle);
    let (first, second) = (first.to_owned(), second.to_owned());
    let end = TellDrop(shared.dropped, false);
    let stream = futures::stream::once(async move { frame(&json!({"choices": [{"delta": {"content": first}}]})) })
        .chain(futures::stream::once(async move {
            let mut end = end;
            shared.gate.acquire().await.unwrap().forget();
            end.1 = true;
            let last = json!({"choices": [{"delta": {"content": second}, "finish_reason": "stop"}]});
            let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}});
            format!("{}{}data: [DONE]\n\n", frame(&last), frame(&usage))
        }));
    let body = Body::from_stream(stream.map(Ok::<_, std::convert::Infallible>));
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

/// A text's vector says which of these words it has.
const WORDS: [&str; 3] = ["dog", "rex", "weather"];

async fn embed(Json(body): Json<Value>) -> Json<Value> {
    let texts = body["input"].as_array().unwrap();
    let has = |text: &str, word: &str| if text.to_lowercase().contains(word) { 1.0 } else { 0.0 };
    let vector = |text: &Value| WORDS.map(|word| has(text.as_str().unwrap(), word));
    let data = texts.iter().enumerate().map(|(index, text)| json!({"index": index, "embedding": vector(text)}));
    Json(json!({"object": "list", "data": data.collect::<Vec<_>>()}))
}

fn frame(value: &Value) -> String {
    format!("data: {value}\n\n")
}
