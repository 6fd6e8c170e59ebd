//! Asking a pod what it serves.

use std::path::PathBuf;
use std::time::Duration;

use agent_pod_config::PodState;
use reqwest::header::AUTHORIZATION;

use super::PodView;
use crate::names::ADMIN_PORT;

const TIMEOUT: Duration = Duration::from_secs(2);
/// A state is a few kilobytes; a pod that sends more is not believed.
const BYTES_MAX: usize = 1024 * 1024;

/// Why a pod's state is not known.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The pod has no address yet.
    #[error("the pod has no address yet")]
    NoAddress,
    /// The operator's token could not be read.
    #[error("failed to read the token file")]
    Token(#[source] std::io::Error),
    /// The pod did not answer.
    #[error("the pod did not answer")]
    Request(#[source] reqwest::Error),
    /// The pod refused.
    #[error("the pod answered with status {0}")]
    Status(u16),
    /// The answer is too large.
    #[error("the pod's answer is too large")]
    TooLarge,
    /// The answer is not a state.
    #[error("the pod's answer is not a state")]
    Malformed(#[source] serde_json::Error),
}

impl PollError {
    /// Why, in words that are the same at each try.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Request(error) if error.is_timeout() => {
                format!("the pod does not answer on port {ADMIN_PORT}; does a NetworkPolicy let the operator in?")
            }
            Self::Request(error) if error.is_connect() => {
                format!("no connection to the pod's port {ADMIN_PORT}; does a NetworkPolicy let the operator in?")
            }
            Self::NoAddress
            | Self::Token(_)
            | Self::Request(_)
            | Self::Status(_)
            | Self::TooLarge
            | Self::Malformed(_) => self.to_string(),
        }
    }
}

/// Asks pods.
#[derive(Clone, Debug)]
pub struct StateClient {
    http: reqwest::Client,
    token_file: Option<PathBuf>,
}

impl StateClient {
    /// A client that sends the token in `token_file` with each request, if there is such a file.
    ///
    /// # Errors
    /// When the TLS stack is not there.
    pub fn new(token_file: Option<PathBuf>) -> Result<Self, reqwest::Error> {
        // No proxy: pods are reached directly, whatever the environment says.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            // A connection takes 27 KiB, and there are thousands of pods, each asked seldom.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, token_file })
    }

    /// The state of a pod.
    ///
    /// # Errors
    /// See [`PollError`].
    pub async fn state(&self, pod: &PodView) -> Result<PodState, PollError> {
        let address = pod.address.as_deref().ok_or(PollError::NoAddress)?;
        self.state_at(&url(address, ADMIN_PORT)).await
    }

    pub(super) async fn state_at(&self, url: &str) -> Result<PodState, PollError> {
        let mut request = self.http.get(url);
        if let Some(token) = self.token().await? {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut response = request.send().await.map_err(PollError::Request)?;
        if !response.status().is_success() {
            return Err(PollError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(PollError::Request)? {
            if body.len() + chunk.len() > BYTES_MAX {
                return Err(PollError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(PollError::Malformed)
    }

    /// Read at each request: the kubelet renews the file.
    async fn token(&self) -> Result<Option<String>, PollError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        match tokio::fs::read_to_string(path).await {
            Ok(token) => Ok(Some(token.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PollError::Token(error)),
        }
    }
}

fn url(address: &str, port: u16) -> String {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    format!("http://{host}:{port}/internal/state")
}

#[cfg(test)]
mod tests;
