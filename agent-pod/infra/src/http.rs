//! The one way to make an HTTP client.

use std::time::Duration;

use reqwest::redirect::Policy;

/// How long an idle connection is kept. Common servers close theirs after 5 s (uvicorn, Node); a client that lets go
/// first never sends a request into a connection that is being closed.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A client that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The TLS set-up failed, for example for want of root certificates.
    #[error("failed to set up an HTTP client; check that the image holds root certificates")]
    Build(#[source] reqwest::Error),
}

/// A client for model servers, in and out of the cluster.
///
/// - It gives up on connecting after `connect_timeout` and has no other time-out: the router bounds each call.
/// - It follows no redirect, so that a credential goes only where it was meant to go.
/// - It uses no proxy, whatever the environment says: calls within the cluster must not leave it.
///
/// # Errors
/// When TLS cannot be set up.
///
/// # Panics
/// When the binary has installed no rustls provider.
pub fn client(connect_timeout: Duration) -> Result<reqwest::Client, HttpError> {
    reqwest::Client::builder()
        .user_agent(concat!("astromesh/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(Policy::none())
        .no_proxy()
        .build()
        .map_err(HttpError::Build)
}
