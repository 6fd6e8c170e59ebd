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
use super::endpoint::{EndpointError, below, completions_url, openai_base, uri};
use super::server::{OFFLOADED_BYTES, REPLY_BYTES_MAX, Server, ServerSettings, ServerSettingsError};

/// What a server does in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI and everything that says to be compatible with it.
    OpenAiCompat,
    /// vLLM.
    Vllm,
    /// The server of llama.cpp.
    LlamaCpp,
    /// Text Generation Inference of Hugging Face.
    HfTgi,
}

/// A server that speaks chat completions.
#[derive(Debug)]
pub struct ChatCompletions {
    dialect: Dialect,
    server: Server,
    completions: Uri,
    models: Uri,
}

impl ChatCompletions {
    /// The server of these settings, whose `endpoint` is the base URL before `/chat/completions`; without a path it gets
    /// `/v1`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the endpoint or a header is not usable, or TLS cannot be set up.
    pub fn new(dialect: Dialect, settings: &ServerSettings) -> Result<Self, ServerSettingsError> {
        let urls = || -> Result<_, EndpointError> {
            let base = openai_base(&settings.endpoint)?;
            Ok((uri(&completions_url(&settings.endpoint)?)?, uri(&below(&base, "/models"))?, base))
        };
        let (completions, models, base) = urls().map_err(ServerSettingsError::Endpoint)?;
        Ok(Self { dialect, server: Server::new(settings, &base)?, completions, models })
    }
}

#[async_trait]
impl Model for ChatCompletions {
    async fn call(&self, request: &ModelRequest<'_>) -> Result<ModelStream, ModelError> {
        let body = Bytes::from(request::translate(request, self.dialect).to_string());
        let answer = self.server.post(&self.completions, "text/event-stream, application/json", body).await?;
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
        self.server.models(&self.models).await
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
