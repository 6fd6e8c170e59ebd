//! Telling the operator's replicas that this pod has something to show.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT as USER_AGENT_HEADER};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::Url;

use crate::http::{Client, HttpError, TlsError, TlsSettings, USER_AGENT};

/// How long connecting to a replica may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long all of it may take.
const TELL_TIMEOUT: Duration = Duration::from_secs(2);

/// No operator has more replicas.
const REPLICAS_MAX: usize = 16;

/// Why nobody has listened.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The address is none.
    #[error("the address is not http://<host>[:<port>]/<path>")]
    Address,
    /// Its host is not known.
    #[error("its host is not known")]
    Resolve(#[source] io::Error),
    /// No replica has taken it.
    #[error("none of {replicas} replicas has taken it: {last}")]
    NobodyListens {
        /// How many were told.
        replicas: usize,
        /// What one of them answered.
        last: String,
    },
    /// It took too long.
    #[error("no replica answered within {TELL_TIMEOUT:?}")]
    Timeout,
}

/// Tells whoever listens at an address. No proxy, no redirect, no TLS: what is told is no secret.
#[derive(Debug)]
pub struct Teller(Client);

impl Teller {
    /// One that has told nothing yet.
    ///
    /// # Errors
    /// When TLS cannot be set up, which is not used.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self(Client::new(false, TlsSettings::default(), CONNECT_TIMEOUT)?))
    }

    /// Posts this JSON to every address of the URL's host at the same time; one that takes it is enough.
    ///
    /// # Errors
    /// When none does.
    pub async fn tell(&self, url: &str, json: Bytes) -> Result<(), TellError> {
        let url = Url::parse(url.trim()).ok().filter(|url| url.scheme() == "http").ok_or(TellError::Address)?;
        timeout(TELL_TIMEOUT, self.tell_all(&url, json)).await.unwrap_or(Err(TellError::Timeout))
    }

    async fn tell_all(&self, url: &Url, json: Bytes) -> Result<(), TellError> {
        let host = url.host_str().ok_or(TellError::Address)?;
        let port = url.port_or_known_default().unwrap_or_default();
        // The URL has brackets around an IPv6 address, and so does what is looked up.
        let found = lookup_host(format!("{host}:{port}")).await.map_err(TellError::Resolve)?;
        let addresses: Vec<_> = found.take(REPLICAS_MAX).collect();
        let authority = HeaderValue::try_from(format!("{host}:{port}")).map_err(|_| TellError::Address)?;
        let told =
            join_all(addresses.iter().map(|address| self.tell_one(*address, &authority, url, json.clone()))).await;
        if told.iter().any(|answer| answer.as_ref().is_ok_and(StatusCode::is_success)) {
            return Ok(());
        }
        let last = told.last().map(|answer| match answer {
            Ok(status) => status.as_u16().to_string(),
            Err(error) => error.to_string(),
        });
        Err(TellError::NobodyListens { replicas: addresses.len(), last: last.unwrap_or_default() })
    }

    async fn tell_one(
        &self,
        address: SocketAddr,
        authority: &HeaderValue,
        url: &Url,
        json: Bytes,
    ) -> Result<StatusCode, HttpError> {
        let mut request = Request::new(Full::new(json));
        *request.method_mut() = Method::POST;
        // A path of a URL is one of a URI as well.
        *request.uri_mut() = Uri::try_from(format!("http://{address}{}", url.path())).unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
        Ok(self.0.send(request).await?.status())
    }
}
