//! The one HTTP client: pooled connections over hyper, TLS by rustls.
//!
//! ```text
//!  Client ─ request ─► pool ─ connect: names ► TCP ► TLS, within one time-out ─► server
//!    └─ own CA: the connector is made anew whenever the certificates have changed
//! ```
//!
//! - It gives up on connecting after `connect_timeout` and has no other time-out: the router bounds each call.
//! - It follows no redirect, so that a credential goes only where it was meant to go.
//! - It uses no proxy, whatever the environment says: calls within the cluster must not leave it.
//! - A request that met a connection which the server had closed meanwhile is sent once more over another one.

mod connect;
mod drawn;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use astromesh_egress::Reach;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::secret::SecretHandle;
use connect::{Bounded, connector};

pub(crate) use connect::{AddressForbidden, ConnectTimeout, NameNotFound};
pub(crate) use drawn::{Drawn, Growing};
pub use tls::TlsError;

/// How long an idle connection is kept. Common servers close theirs after 5 s (uvicorn, Node); a client that lets go
/// first never sends a request into a connection that is being closed.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How often an HTTP/2 connection with open streams is asked whether it is alive, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The name under which we call.
pub(crate) const USER_AGENT: &str = concat!("astromesh/", env!("CARGO_PKG_VERSION"));

/// How a server proves who it is, where the certificate authorities of the system do not do.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// The only certificate authorities to believe, as PEM; absent: the system's.
    pub ca: Option<SecretHandle>,
    /// Believe anybody.
    pub insecure_skip_verify: bool,
}

type Pool = legacy::Client<Bounded, Full<Bytes>>;

/// What is read of an HTTP/1 answer before somebody takes it, and the longest head of one: hyper's own default is 400 KiB.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A client of one server.
pub struct Client {
    secure: bool,
    tls: TlsSettings,
    connect_timeout: Duration,
    reach: Reach,
    current: ArcSwapOption<Current>,
}

/// The connections that were made with one version of the certificates.
struct Current {
    ca_version: u64,
    pool: Pool,
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] TlsError),
    /// There is no connection, or it broke.
    #[error("the server did not answer")]
    Request(#[source] legacy::Error),
}

impl HttpError {
    /// Whether there was no connection, so that nothing has been sent.
    pub(crate) fn is_connect(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_connect())
    }
}

impl Client {
    /// A client; `secure` says whether it is for `https`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the system has no certificate authorities. Own ones are looked at with each request.
    ///
    /// # Panics
    /// When the binary has installed no rustls provider.
    pub fn new(secure: bool, tls: TlsSettings, connect_timeout: Duration) -> Result<Self, TlsError> {
        Self::reaching(secure, tls, connect_timeout, Reach::Anything)
    }

    /// The same, for servers that its user has not chosen freely.
    ///
    /// A name is resolved and checked with every connection. An address in the URL itself is its caller's to check.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn reaching(secure: bool, tls: TlsSettings, connect_timeout: Duration, reach: Reach) -> Result<Self, TlsError> {
        let client = Self { secure, tls, connect_timeout, reach, current: ArcSwapOption::empty() };
        match client.pool() {
            // The Secret may come later.
            Ok(_) | Err(TlsError::CaMissing | TlsError::CaNotPem) => Ok(client),
            Err(error @ TlsError::System(_)) => Err(error),
        }
    }

    /// Changes whenever the certificate authorities do.
    pub(crate) fn ca_version(&self) -> u64 {
        self.tls.ca.as_ref().map_or(0, SecretHandle::version)
    }

    /// Sends a request and waits for the head of its answer. Dropping the wait or the answer closes the connection.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        let pool = self.pool().map_err(HttpError::Tls)?;
        pool.request(request).await.map_err(HttpError::Request)
    }

    fn pool(&self) -> Result<Pool, TlsError> {
        let ca_version = self.ca_version();
        if let Some(current) = self.current.load().as_deref()
            && current.ca_version == ca_version
        {
            return Ok(current.pool.clone());
        }
        let pool = self.make_pool()?;
        self.current.store(Some(Arc::new(Current { ca_version, pool: pool.clone() })));
        Ok(pool)
    }

    fn make_pool(&self) -> Result<Pool, TlsError> {
        let config = if self.secure { tls::config(&self.tls)? } else { tls::unused() };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector(self.reach));
        Ok(legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http1_max_buf_size(READ_BUFFER_BYTES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_adaptive_window(true)
            .build(Bounded::new(https, self.connect_timeout)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("secure", &self.secure).field("tls", &self.tls).finish_non_exhaustive()
    }
}
