//! Servers that turn texts into vectors.
//!
//! ```text
//!  texts   ─ wire::request ─► JSON ─► POST <endpoint>/embeddings, or <endpoint>/api/embed of Ollama
//!  vectors ◄ wire::vectors ◄ JSON ◄─ 200
//! ```
//!
//! Protocols: <https://platform.openai.com/docs/api-reference/embeddings>, <https://github.com/ollama/ollama/blob/main/docs/api.md>.

pub mod wire;

use agent_pod_core::cpu::offload;
use agent_pod_core::embedding::Embedder;
use agent_pod_core::model::ModelError;
use async_trait::async_trait;
use bytes::Bytes;
use http::Uri;
use url::Url;

use super::endpoint::{EndpointError, below, ollama_base, openai_base, uri};
use super::server::{OFFLOADED_BYTES, REPLY_BYTES_MAX, Server, ServerSettings, ServerSettingsError};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingsProtocol {
    /// `/embeddings` of OpenAI.
    OpenAi,
    /// `/api/embed` of Ollama.
    Ollama,
}

/// A server that turns texts into vectors, and the model that does it there.
#[derive(Debug)]
pub struct Embeddings {
    protocol: EmbeddingsProtocol,
    model: String,
    server: Server,
    uri: Uri,
}

impl Embeddings {
    /// The server of these settings, whose `endpoint` is the base URL before `/embeddings` or `/api`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the endpoint or a header is not usable, or TLS cannot be set up.
    pub fn new(
        protocol: EmbeddingsProtocol,
        model: String,
        settings: &ServerSettings,
    ) -> Result<Self, ServerSettingsError> {
        let url = url(protocol, &settings.endpoint).map_err(ServerSettingsError::Endpoint)?;
        let uri = uri(&url).map_err(ServerSettingsError::Endpoint)?;
        Ok(Self { protocol, model, server: Server::new(settings, &url)?, uri })
    }
}

fn url(protocol: EmbeddingsProtocol, endpoint: &str) -> Result<Url, EndpointError> {
    match protocol {
        EmbeddingsProtocol::OpenAi => {
            let base = openai_base(endpoint)?;
            // The URL itself may be written as well.
            let whole = base.path().ends_with(PATH);
            Ok(if whole { base } else { below(&base, PATH) })
        }
        EmbeddingsProtocol::Ollama => Ok(below(&ollama_base(endpoint)?, "/api/embed")),
    }
}

const PATH: &str = "/embeddings";

#[async_trait]
impl Embedder for Embeddings {
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        let body = Bytes::from(wire::request(&self.model, texts).to_string());
        let answer = self.server.post(&self.uri, "application/json", body).await?;
        let redaction = answer.redaction();
        let body = answer.bounded(REPLY_BYTES_MAX).await?;
        let (protocol, large) = (self.protocol, body.len() > OFFLOADED_BYTES);
        let read = move || wire::vectors(protocol, &body);
        let vectors = if large { offload(read).await } else { read() };
        vectors.map_err(|error| redaction.clean(error))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(EmbeddingsProtocol::OpenAi, "http://llama:8080", "http://llama:8080/v1/embeddings")]
    #[case(EmbeddingsProtocol::OpenAi, "https://api.openai.com/v1/", "https://api.openai.com/v1/embeddings")]
    #[case(EmbeddingsProtocol::OpenAi, "https://host/v1/embeddings", "https://host/v1/embeddings")]
    #[case(EmbeddingsProtocol::Ollama, "http://ollama:11434", "http://ollama:11434/api/embed")]
    #[case(EmbeddingsProtocol::Ollama, "http://ollama:11434/api/", "http://ollama:11434/api/embed")]
    fn an_endpoint_becomes_the_url_that_is_called(
        #[case] protocol: EmbeddingsProtocol,
        #[case] endpoint: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(url(protocol, endpoint).unwrap().as_str(), expected);
    }
}
