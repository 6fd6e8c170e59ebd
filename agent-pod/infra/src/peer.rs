//! An agent of another pod, over its REST API.
//!
//! ```text
//!  TurnRequest ─► POST <base>/v1/agents/<name>/run ─► 200, JSON or server-sent events ─ wire ─► TurnEvents
//! ```

mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{TurnEvent, TurnRequest};
use agent_pod_core::peer::Peer;
use agent_pod_core::service::{Run, RunOptions};
use agent_pod_core::tool::{Desk, Ruling};
use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT as USER_AGENT_HEADER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sse_stream::SseStream;
use tokio::time::timeout;
use url::Url;

use crate::http::{Client, Drawn, HttpError, TlsSettings, USER_AGENT};
use crate::model::chat_completions::stream::split;
use crate::model::error::malformed;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a call that found no connection is sent again, after pauses of 0.1, 0.2, 0.4 and 0.8 s.
const RETRIES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How long a decision on an approval may take to get there.
const DECISION_WAIT: Duration = Duration::from_secs(5);

/// The most bytes of an answer that comes as one document.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

const X_RUN_ID: HeaderName = HeaderName::from_static("x-run-id");

/// An agent of another pod.
#[derive(Debug)]
pub struct Remote {
    name: String,
    url: Url,
    /// Where its runs are.
    runs: Url,
    token: PathBuf,
    client: Arc<Client>,
}

/// A way to another pod that cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It is not an absolute URL over HTTP.
    #[error("`{0}` is not the URL of an agent")]
    Url(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Remote {
    /// The agent of this name whose API is at `base`. The token is a file that is renewed while the pod runs, and is
    /// therefore read with each call.
    ///
    /// # Errors
    /// When it could never be called.
    pub fn new(base: &str, name: &str, token: impl Into<PathBuf>) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Url(base.to_owned());
        let url = Url::parse(base).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(wrong());
        }
        let below = |segments: &[&str]| {
            let mut url = url.clone();
            url.path_segments_mut().ok()?.pop_if_empty().extend(segments);
            Some(url)
        };
        let (run, runs) = below(&["v1", "agents", name, "run"]).zip(below(&["v1", "runs"])).ok_or_else(wrong)?;
        let client = Client::new(url.scheme() == "https", TlsSettings::default(), CONNECT_TIMEOUT);
        let client = Arc::new(client.map_err(|error| RemoteError::Tls(error.to_string()))?);
        Ok(Self { name: name.to_owned(), url: run, runs, token: token.into(), client })
    }

    async fn request(&self, request: &TurnRequest, options: &RunOptions) -> Result<Request<Full<Bytes>>, RunError> {
        let mut call = self.post(&self.url, &wire::body(request, options.streaming)).await?;
        let headers = call.headers_mut();
        headers.extend(run_headers(options));
        let accept = if options.streaming { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        Ok(call)
    }

    async fn post(&self, url: &Url, body: &Value) -> Result<Request<Full<Bytes>>, RunError> {
        let unsendable = |_| RunError::new(ErrorCode::Internal, "the call of another agent could not be written");
        let mut call = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .body(Full::new(body.to_string().into()))
            .map_err(unsendable)?;
        let headers = call.headers_mut();
        headers.insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Without a token the other pod decides: one that lets everybody in needs none.
        if let Some(token) = read(&self.token).await {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret().trim()));
            if let Ok(mut bearer) = bearer {
                bearer.set_sensitive(true);
                headers.insert(AUTHORIZATION, bearer);
            }
        }
        Ok(call)
    }

    /// Sends a call, and again while there is no connection: the way to a Service that is new, or whose pods are being
    /// replaced, takes a moment to be known on every node. Nothing of the call has been sent then.
    async fn reach(&self, call: &Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(RETRIES);
        (|| self.client.send(call.clone())).retry(pauses).when(HttpError::is_connect).await
    }

    fn unreached(&self, error: &HttpError) -> RunError {
        let cause = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source()).last();
        tracing::warn!(agent = %self.name, cause = cause.map(tracing::field::display), "another agent cannot be reached");
        RunError::new(ErrorCode::Draining, format!("the agent `{}` cannot be reached now", self.name))
    }
}

async fn read(token: &Path) -> Option<SecretString> {
    tokio::fs::read_to_string(token).await.ok().map(SecretString::from)
}

/// What the other pod is told of the run that calls.
fn run_headers(options: &RunOptions) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut tell = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    tell("x-astromesh-depth", options.depth.to_string());
    if let Some(tokens) = options.tokens_max {
        tell("x-astromesh-tokens-left", tokens.to_string());
    }
    if let Some(left) = options.timeout {
        // At least one: zero is no deadline that a caller may set.
        tell("x-request-timeout-ms", left.as_millis().max(1).to_string());
    }
    if let Some(trace) = &options.trace_id {
        let span: String = trace.chars().rev().take(16).collect();
        tell("traceparent", format!("00-{trace}-{span}-01"));
    }
    headers
}

#[async_trait]
impl Peer for Remote {
    async fn start(&self, request: TurnRequest, options: RunOptions) -> Result<Run, RunError> {
        let call = self.request(&request, &options).await?;
        let response = self.reach(&call).await.map_err(|error| self.unreached(&error))?;
        let (head, body) = response.into_parts();
        let run_id = head.headers.get(X_RUN_ID).and_then(|id| id.to_str().ok());
        let run_id = run_id.filter(|id| id.len() <= wire::RUN_ID_BYTES_MAX).unwrap_or_default().to_owned();
        if !head.status.is_success() {
            let body = whole(body).await;
            return Err(wire::refusal(&self.name, head.status, body.as_deref().unwrap_or_default()));
        }
        let events = if options.streaming {
            events(body, self.name.clone())
        } else {
            let body = whole(body).await.ok_or_else(|| broken_off(&self.name))?;
            let end = wire::answer(&body).ok_or_else(|| not_understood(&self.name))?;
            stream::iter([TurnEvent::Done(Box::new(end))]).boxed()
        };
        Ok(Run { run_id, events, desk: Arc::default() })
    }

    async fn decide(&self, (run_id, _desk): (&str, &Desk), approval: &str, ruling: Ruling) {
        let sent = timeout(DECISION_WAIT, async {
            let mut url = self.runs.clone();
            url.path_segments_mut().ok()?.extend([run_id, "approvals", approval]);
            let call = self.post(&url, &wire::decision(&ruling)).await.ok()?;
            let answer = self.client.send(call).await.ok()?;
            answer.status().is_success().then_some(())
        });
        if sent.await.ok().flatten().is_none() {
            tracing::warn!(agent = %self.name, run_id, "a decision did not get to the agent that waits for it");
        }
    }
}

async fn whole(mut body: Incoming) -> Option<Drawn> {
    let mut answer = Drawn::new(ANSWER_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        if !answer.keep(&frame.ok()?.into_data().unwrap_or_default()).await.ok()? {
            return None;
        }
    }
    answer.whole().await.ok()
}

/// The events of a run that come as server-sent events. Always ends with an end.
fn events(body: Incoming, name: String) -> BoxStream<'static, TurnEvent> {
    let bytes = body.into_data_stream().map(|piece| piece.map_err(|_| malformed("the answer broke off")));
    let frames = SseStream::from_bytes_stream(split(bytes.boxed()).boxed());
    stream::unfold(Some((frames, name, wire::Reader::default())), |state| async move {
        let (mut frames, name, mut reader) = state?;
        loop {
            let Some(Ok(frame)) = frames.next().await else {
                return Some((TurnEvent::Error(Box::new(broken_off(&name))), None));
            };
            let Some(data) = frame.data else { continue };
            return Some(match reader.event(&data) {
                Some(Some(event)) if event.is_end() => (event, None),
                Some(Some(event)) => (event, Some((frames, name, reader))),
                // An event of a newer release, or one too many.
                Some(None) => continue,
                None => (TurnEvent::Error(Box::new(not_understood(&name))), None),
            });
        }
    })
    .boxed()
}

fn broken_off(name: &str) -> RunError {
    RunError::new(ErrorCode::Internal, format!("the answer of the agent `{name}` broke off"))
}

fn not_understood(name: &str) -> RunError {
    RunError::new(ErrorCode::Internal, format!("the answer of the agent `{name}` could not be understood"))
}
