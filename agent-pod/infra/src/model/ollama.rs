//! The native protocol of Ollama.
//!
//! ```text
//!  ModelRequest ─ request::translate ─► JSON ─► POST <endpoint>/api/chat
//!  ModelEvents ◄─ stream::decode ◄──── bytes ◄─ 200, a JSON document per line
//! ```
//!
//! Protocol: <https://github.com/ollama/ollama/blob/main/docs/api.md>.

pub mod request;
pub mod stream;

mod reply;

use agent_pod_core::cpu::offload;
use agent_pod_core::model::{Model, ModelError, ModelRequest, ModelStream};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http::Uri;

use super::call_ids::first_free_call;
use super::endpoint::{EndpointError, below, ollama_base, uri};
use super::server::{OFFLOADED_BYTES, REPLY_BYTES_MAX, Server, ServerSettings, ServerSettingsError};

/// An Ollama server.
#[derive(Debug)]
pub struct Ollama {
    server: Server,
    chat: Uri,
    tags: Uri,
}

impl Ollama {
    /// The server of these settings, whose `endpoint` is the base URL before `/api`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the endpoint or a header is not usable, or TLS cannot be set up.
    pub fn new(settings: &ServerSettings) -> Result<Self, ServerSettingsError> {
        let urls = || -> Result<_, EndpointError> {
            let base = ollama_base(&settings.endpoint)?;
            Ok((uri(&below(&base, "/api/chat"))?, uri(&below(&base, "/api/tags"))?, base))
        };
        let (chat, tags, base) = urls().map_err(ServerSettingsError::Endpoint)?;
        Ok(Self { server: Server::new(settings, &base)?, chat, tags })
    }
}

#[async_trait]
impl Model for Ollama {
    async fn call(&self, request: &ModelRequest<'_>) -> Result<ModelStream, ModelError> {
        let body = Bytes::from(request::translate(request)?.to_string());
        let answer = self.server.post(&self.chat, "application/x-ndjson, application/json", body).await?;
        let (redaction, first_call) = (answer.redaction(), first_free_call(request));
        if answer.is_json() {
            let body = answer.bounded(REPLY_BYTES_MAX).await?;
            let large = body.len() > OFFLOADED_BYTES;
            let decode = move || stream::decode_whole(&body, first_call);
            let events = if large { offload(decode).await } else { decode() };
            let events = events.map_err(|error| redaction.clean(error))?;
            return Ok(futures::stream::iter(events.into_iter().map(Ok)).boxed());
        }
        let events = stream::decode(answer.stream(), first_call);
        Ok(events.map(move |event| event.map_err(|error| redaction.clean(error))).boxed())
    }

    async fn models(&self) -> Result<Vec<String>, ModelError> {
        self.server.models(&self.tags).await
    }

    fn credential_version(&self) -> u64 {
        self.server.credential_version()
    }

    fn awaits_credential(&self) -> bool {
        self.server.awaits_credential()
    }

    async fn credential_renewed(&self, refused: u64) -> bool {
        self.server.credential_renewed(refused).await
    }
}
