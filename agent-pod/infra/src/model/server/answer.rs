//! What a server answers, with bounds, and without the credential should it repeat it.

use std::time::Duration;

use agent_pod_core::model::ModelError;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyDataStream, BodyExt as _};
use hyper::body::Incoming;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use crate::http::Drawn;
use crate::model::error::{broken, malformed, no_memory, of_status};

/// The most bytes read of an error's body. What servers say about an error is shorter.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// How long the body of an error may take.
pub const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// The most bytes of a reply that comes as one JSON document.
pub const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A body of more bytes takes more than about a millisecond to parse: not on a thread that serves sockets.
pub const OFFLOADED_BYTES: usize = 128 * 1024;

/// An answer whose head has come.
pub(in crate::model) struct Answer {
    response: Response<Incoming>,
    redaction: Redaction,
}

/// Takes the credential out of what is told of a failure.
#[derive(Clone)]
pub(in crate::model) struct Redaction(Option<SecretString>);

impl Redaction {
    /// The error without the credential.
    pub(in crate::model) fn clean(&self, mut error: ModelError) -> ModelError {
        if let Some(credential) = self.0.as_ref().map(SecretString::expose_secret).filter(|text| !text.is_empty()) {
            error.message = error.message.replace(credential, "[redacted]");
        }
        error
    }
}

impl Answer {
    pub(super) fn new(response: Response<Incoming>, credential: Option<SecretString>) -> Self {
        Self { response, redaction: Redaction(credential) }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The answer if it is one, else the error with what its body says as far as it comes.
    pub(super) async fn successful(self) -> Result<Self, ModelError> {
        if self.response.status().is_success() {
            return Ok(self);
        }
        let Self { response, redaction } = self;
        Err(redaction.clean(refused(response).await))
    }

    /// `application/json`, with or without parameters.
    pub(in crate::model) fn is_json(&self) -> bool {
        let content_type = self.response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        media.trim().eq_ignore_ascii_case("application/json")
    }

    /// What takes the credential out of later errors.
    pub(in crate::model) fn redaction(&self) -> Redaction {
        self.redaction.clone()
    }

    /// The body as it comes. Dropping it closes the connection.
    pub(in crate::model) fn stream(self) -> impl Stream<Item = Result<Bytes, ModelError>> + Send + 'static {
        BodyDataStream::new(self.response.into_body()).map(|piece| piece.map_err(|error| broken(&error)))
    }

    /// A whole body of at most `bytes_max` bytes, with the memory that it takes to parse it. Every body that is read as a
    /// whole comes through here.
    pub(in crate::model) async fn bounded(self, bytes_max: usize) -> Result<Drawn, ModelError> {
        let mut pieces = std::pin::pin!(self.stream());
        let mut body = Drawn::new(bytes_max);
        while let Some(piece) = pieces.next().await.transpose()? {
            if !body.keep(&piece).await.map_err(no_memory)? {
                return Err(malformed("reply too large"));
            }
        }
        body.whole().await.map_err(no_memory)
    }
}

async fn refused(response: Response<Incoming>) -> ModelError {
    let (head, body) = response.into_parts();
    let (status, headers): (StatusCode, HeaderMap) = (head.status, head.headers);
    let body = timeout(ERROR_BODY_WAIT, beginning(body)).await.unwrap_or_default();
    of_status(status, &headers, &body, Timestamp::now())
}

/// The first [`ERROR_BODY_BYTES_MAX`] bytes of a body, or what came before it broke.
async fn beginning(mut incoming: Incoming) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(frame)) = incoming.frame().await {
        body.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        if body.len() >= ERROR_BODY_BYTES_MAX {
            body.truncate(ERROR_BODY_BYTES_MAX);
            break;
        }
    }
    body
}
