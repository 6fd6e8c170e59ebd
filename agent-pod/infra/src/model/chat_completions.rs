//! The chat completions protocol of OpenAI, which most model servers speak.
//!
//! ```text
//!  ModelRequest ─ request::translate ─► JSON ─► POST <endpoint>/chat/completions
//!  ModelEvents ◄─ stream::decode ◄──── bytes ◄─ 200, server-sent events
//!  ModelError  ◄─ error ◄───────────────────── every other end
//! ```
//!
//! Protocol: <https://platform.openai.com/docs/api-reference/chat>. What servers do differently is a [`Dialect`].
//! A reply is always asked for as a stream; a server that answers with one JSON document is understood as well.

pub mod endpoint;
pub mod error;
pub mod request;
pub mod stream;

mod reply;

use std::fmt;
use std::time::Duration;

use agent_pod_core::model::{Model, ModelError, ModelErrorKind, ModelRequest, ModelStream};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use tracing::debug;

pub use endpoint::{EndpointError, completions_url};

use crate::http::{HttpError, client};
use crate::secret::SecretHandle;

/// The most bytes read of an error's body. What servers say about an error is shorter.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// How long the body of an error may take.
pub const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// The most bytes of a reply that comes as one JSON document.
pub const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a server does in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI and everything that says to be compatible with it.
    OpenAiCompat,
    /// The server of llama.cpp.
    LlamaCpp,
}

/// How a credential is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// `Authorization: Bearer <credential>`.
    Bearer,
    /// A header of this name with nothing but the credential.
    Header(String),
}

/// Which credential is sent, and how.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// How.
    pub scheme: AuthScheme,
    /// Which.
    pub secret: SecretHandle,
}

/// A server that speaks chat completions.
#[derive(Clone, Debug)]
pub struct ChatCompletionsSettings {
    /// What it does in its own way.
    pub dialect: Dialect,
    /// The base URL before `/chat/completions`; without a path it gets `/v1`.
    pub endpoint: String,
    /// The credential; absent: none is sent.
    pub auth: Option<AuthSettings>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

/// Settings that make no client.
#[derive(Debug, thiserror::Error)]
pub enum ChatCompletionsError {
    /// The endpoint is not usable.
    #[error("bad endpoint")]
    Endpoint(#[source] EndpointError),
    /// The header's name is not one.
    #[error("`{name}` is not the name of an HTTP header")]
    Header {
        /// The name.
        name: String,
    },
    /// There is no HTTP client.
    #[error("failed to set up the client of the endpoint")]
    Client(#[source] HttpError),
}

/// A server that speaks chat completions.
pub struct ChatCompletions {
    client: Client,
    url: Url,
    dialect: Dialect,
    auth: Option<Auth>,
}

struct Auth {
    header: HeaderName,
    prefix: &'static str,
    secret: SecretHandle,
}

impl ChatCompletions {
    /// The server of these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// When the endpoint or the header is not usable, or TLS cannot be set up.
    pub fn new(settings: &ChatCompletionsSettings) -> Result<Self, ChatCompletionsError> {
        let ChatCompletionsSettings { dialect, endpoint, auth, connect_timeout } = settings;
        Ok(Self {
            client: client(*connect_timeout).map_err(ChatCompletionsError::Client)?,
            url: completions_url(endpoint).map_err(ChatCompletionsError::Endpoint)?,
            dialect: *dialect,
            auth: auth.as_ref().map(Auth::new).transpose()?,
        })
    }

    /// The credential in use; `None` where none is to be sent.
    fn credential(&self) -> Result<Option<SecretString>, ModelError> {
        let Some(auth) = &self.auth else { return Ok(None) };
        match auth.secret.get() {
            Some(credential) => Ok(Some(credential)),
            None => Err(ModelError::new(ModelErrorKind::Unauthorized, "credential missing")),
        }
    }

    /// The credential after another look at its source, if it is not the one that was `refused`.
    fn fresh_credential(&self, refused: Option<&SecretString>) -> Option<SecretString> {
        let auth = self.auth.as_ref()?;
        // What it says is not enough: somebody else may have looked since the refused one was sent.
        let _changed: bool = auth.secret.reread();
        auth.secret.get().filter(|fresh| Some(fresh.expose_secret()) != refused.map(|old| old.expose_secret()))
    }

    async fn send(&self, body: Bytes, credential: Option<&SecretString>) -> Result<Response, ModelError> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream, application/json")
            .body(body);
        if let (Some(auth), Some(credential)) = (&self.auth, credential) {
            request = request.header(auth.header.clone(), auth.value(credential)?);
        }
        request.send().await.map_err(|error| error::unreachable(&error))
    }

    /// Sends the request; once more if the credential is refused and has changed at its source since.
    async fn ask(&self, body: Bytes) -> Result<(Response, Option<SecretString>), ModelError> {
        let credential = self.credential()?;
        let response = self.send(body.clone(), credential.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(fresh) = self.fresh_credential(credential.as_ref())
        {
            debug!(url = %self.url, "credential refused, trying the one that has replaced it");
            return Ok((self.send(body, Some(&fresh)).await?, Some(fresh)));
        }
        Ok((response, credential))
    }
}

impl fmt::Debug for ChatCompletions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatCompletions")
            .field("url", &self.url.as_str())
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Model for ChatCompletions {
    async fn call(&self, request: &ModelRequest<'_>) -> Result<ModelStream, ModelError> {
        let body = Bytes::from(request::translate(request, self.dialect).to_string());
        let (response, credential) = self.ask(body).await?;
        let status = response.status();
        debug!(url = %self.url, model = %request.model, status = status.as_u16(), "model server answered");
        let clean = move |error| redacted(error, credential.as_ref());
        if !status.is_success() {
            return Err(clean(refused(response).await));
        }
        let first_call = request::first_free_call(request);
        if is_json(&response) {
            let body = bounded(response, REPLY_BYTES_MAX).await?;
            let events = stream::decode_whole(&body, first_call).map_err(clean)?;
            return Ok(futures::stream::iter(events.into_iter().map(Ok)).boxed());
        }
        let bytes = response.bytes_stream().map(|piece| piece.map_err(|error| error::broken(&error)));
        Ok(stream::decode(bytes, first_call).map(move |event| event.map_err(&clean)).boxed())
    }

    async fn models(&self) -> Result<Vec<String>, ModelError> {
        Err(ModelError::new(ModelErrorKind::NotFound, "no list of models"))
    }
}

impl Auth {
    fn new(settings: &AuthSettings) -> Result<Self, ChatCompletionsError> {
        let (header, prefix) = match &settings.scheme {
            AuthScheme::Bearer => (AUTHORIZATION, "Bearer "),
            AuthScheme::Header(name) => {
                let header = HeaderName::try_from(name.as_str())
                    .map_err(|_| ChatCompletionsError::Header { name: name.clone() })?;
                (header, "")
            }
        };
        Ok(Self { header, prefix, secret: settings.secret.clone() })
    }

    fn value(&self, credential: &SecretString) -> Result<HeaderValue, ModelError> {
        let mut value = HeaderValue::try_from(format!("{}{}", self.prefix, credential.expose_secret()))
            .map_err(|_| ModelError::new(ModelErrorKind::Unauthorized, "credential is no header value"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The error of a reply that is none, with what its body says as far as it comes.
async fn refused(response: Response) -> ModelError {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = timeout(ERROR_BODY_WAIT, beginning(response)).await.unwrap_or_default();
    error::of_status(status, &headers, &body, Timestamp::now())
}

/// The first [`ERROR_BODY_BYTES_MAX`] bytes of a body, or what came before it broke.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() >= ERROR_BODY_BYTES_MAX {
            body.truncate(ERROR_BODY_BYTES_MAX);
            break;
        }
    }
    body
}

/// A whole body of at most `bytes_max` bytes.
async fn bounded(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| error::broken(&error))? {
        if body.len() + piece.len() > bytes_max {
            return Err(error::malformed("reply too large"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// `application/json`, with or without parameters.
fn is_json(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// The error without the credential, should the server have repeated it.
fn redacted(mut error: ModelError, credential: Option<&SecretString>) -> ModelError {
    if let Some(credential) = credential.map(SecretString::expose_secret).filter(|text| !text.is_empty()) {
        error.message = error.message.replace(credential, "[redacted]");
    }
    error
}
