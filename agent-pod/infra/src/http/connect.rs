//! Connecting: names, TCP and TLS within one time-out, and errors that say which of them failed.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use astromesh_egress::Reach;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

/// What the kernel keeps for a connection in each direction, in bytes. It counts as the pod's memory, and would by itself grow
/// to many MiB for each server that sends more than is read.
const SOCKET_BUFFER: usize = 256 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;
type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The server's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("name not found")]
pub(crate) struct NameNotFound(#[source] io::Error);

/// There was no connection within the time for it.
#[derive(Debug, thiserror::Error)]
#[error("connect timeout")]
pub(crate) struct ConnectTimeout;

/// An address of the server may not be called.
#[derive(Debug, thiserror::Error)]
#[error("the address may not be called")]
pub(crate) struct AddressForbidden;

/// The system's resolver, with errors of its own. What it gives is what is connected to: nobody can change the name's
/// address between the check and the call.
#[derive(Clone)]
pub(super) struct Resolver(GaiResolver, Reach);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pending<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(|error| NameNotFound(error).into())
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (reach, addresses) = (self.1, self.0.call(name));
        Box::pin(async move {
            let addresses: Vec<_> = addresses.await.map_err(NameNotFound)?.collect();
            let forbidden = addresses.iter().any(|address| !reach.permits(address.ip()));
            if forbidden { Err(AddressForbidden.into()) } else { Ok(addresses.into_iter()) }
        })
    }
}

/// What opens TCP connections.
pub(super) fn connector(reach: Reach) -> HttpConnector<Resolver> {
    let mut connector = HttpConnector::new_with_resolver(Resolver(GaiResolver::new(), reach));
    connector.enforce_http(false);
    // Else the pieces of a request wait for one another.
    connector.set_nodelay(true);
    connector.set_recv_buffer_size(Some(SOCKET_BUFFER));
    connector.set_send_buffer_size(Some(SOCKET_BUFFER));
    connector
}

/// A connector with one time-out over all that it does.
#[derive(Clone)]
pub(super) struct Bounded {
    inner: HttpsConnector<HttpConnector<Resolver>>,
    limit: Duration,
}

impl Bounded {
    pub(super) fn new(inner: HttpsConnector<HttpConnector<Resolver>>, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl Service<Uri> for Bounded {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pending<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connection, limit) = (self.inner.call(uri), self.limit);
        Box::pin(async move { timeout(limit, connection).await.unwrap_or_else(|_| Err(Box::new(ConnectTimeout))) })
    }
}
