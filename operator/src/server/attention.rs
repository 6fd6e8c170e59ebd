//! Pods that ask to be looked at. Nothing of what they say is believed: it is only a reason to ask them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_pod_config::Attention;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::error::Category;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Health;
use crate::names::ObjectKey;

/// Where pods post an [`Attention`].
pub(super) const PATH: &str = "/internal/attention";
/// The pods that wait to be looked at.
pub const ATTENTION_MAX: usize = 1_024;
/// An [`Attention`] takes less than a tenth of it.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// How long it may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// When to come again while too many wait.
const RETRY_AFTER_SECONDS: &str = "2";
/// The longest name of a namespace, and of a pod.
const NAMESPACE_CHARS_MAX: usize = 63;
const POD_CHARS_MAX: usize = 253;

/// Where the pods go that ask for attention.
#[derive(Clone, Debug)]
pub struct AttentionSink {
    pods: mpsc::Sender<ObjectKey>,
    accepts: Arc<AtomicBool>,
}

/// A sink that accepts nothing yet, and what comes out of it: pods by their namespaces and names. A pod that asks again
/// comes again.
#[must_use]
pub fn attention() -> (AttentionSink, mpsc::Receiver<ObjectKey>) {
    let (pods, receiver) = mpsc::channel(ATTENTION_MAX);
    (AttentionSink { pods, accepts: Arc::default() }, receiver)
}

impl AttentionSink {
    /// From now on somebody listens, or nobody: only the leader asks pods.
    pub(super) fn accept(&self, accepts: bool) {
        self.accepts.store(accepts, Ordering::Relaxed);
    }

    fn put(&self, pod: ObjectKey) -> Result<(), Refusal> {
        if !self.accepts.load(Ordering::Relaxed) {
            return Err(Refusal::NotLeading);
        }
        self.pods.try_send(pod).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Full,
            TrySendError::Closed(_) => Refusal::NotLeading,
        })
    }
}

/// Why a pod is not looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the body did not come within {} s", BODY_WITHIN.as_secs())]
    Slow,
    #[error("the body is longer than {BODY_BYTES_MAX} bytes, or broken off")]
    TooLong,
    #[error("the body is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("the body is not {{\"namespace\": …, \"pod\": …}}: {0}")]
    Misshapen(serde_json::Error),
    #[error("`{field}` is `{value}`: a name has lower-case letters, digits, `-` and `.`, at most {max} characters")]
    NoName { field: &'static str, value: String, max: usize },
    #[error("this replica of the operator does not lead: ask another one")]
    NotLeading,
    #[error("{ATTENTION_MAX} pods wait already: ask again in {RETRY_AFTER_SECONDS} s")]
    Full,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson(_) => StatusCode::BAD_REQUEST,
            Self::Misshapen(_) | Self::NoName { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotLeading => StatusCode::SERVICE_UNAVAILABLE,
            Self::Full => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

pub(super) async fn ask(State(health): State<Health>, body: Body) -> Response {
    match read(body).await.and_then(|pod| health.attention.put(pod)) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(refusal) => {
            let mut response = (refusal.status(), format!("{refusal}\n")).into_response();
            if let Refusal::Full = refusal {
                let after = header::HeaderValue::from_static(RETRY_AFTER_SECONDS);
                response.headers_mut().insert(header::RETRY_AFTER, after);
            }
            response
        }
    }
}

async fn read(body: Body) -> Result<ObjectKey, Refusal> {
    let bytes = tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes = bytes.map_err(|_elapsed| Refusal::Slow)?.map_err(|_error| Refusal::TooLong)?;
    let Attention { namespace, pod } = serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
        Category::Data => Refusal::Misshapen(error),
        Category::Io | Category::Syntax | Category::Eof => Refusal::NotJson(error),
    })?;
    let namespace = name("namespace", namespace, NAMESPACE_CHARS_MAX)?;
    Ok(ObjectKey { namespace, name: name("pod", pod, POD_CHARS_MAX)? })
}

fn name(field: &'static str, value: String, max: usize) -> Result<String, Refusal> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if value.is_empty() || value.len() > max || !value.chars().all(allowed) {
        let value = value.chars().take(max).collect();
        return Err(Refusal::NoName { field, value, max });
    }
    Ok(value)
}
