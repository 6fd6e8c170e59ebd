//! An accept loop: TCP_NODELAY, the peer's address for access decisions, HTTP/1 and HTTP/2, a graceful end.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::linger;

/// A client that has not sent its headers by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection reads ahead of whoever reads its body: the pool of bytes does not know of it. Headers are bounded by it,
/// too. The libraries' own are 400 KiB and a MiB.
const READ_AHEAD_BYTES: usize = 64 * 1024;
const WINDOW_BYTES: u32 = 256 * 1024;

/// After a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`; then accepts no more, and returns when every connection has ended.
///
/// A client that takes nothing for `write_timeout` is cut off. While nothing can be written, nobody asks a run for its
/// events either: without this bound a reader that reads no more would hold its run, and the provider's connection, for as
/// long as it likes.
pub(super) async fn serve(listener: TcpListener, router: Router, write_timeout: Duration, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(READ_AHEAD_BYTES);
    builder.http2().timer(TokioTimer::new()).initial_stream_window_size(WINDOW_BYTES);
    builder.http2().initial_connection_window_size(WINDOW_BYTES);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(cause = %error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without it a streamed token waits for the client's delayed acknowledgement: 40 ms instead of none.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(cause = %error, "TCP_NODELAY not set");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        let router = router.clone();
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move {
                let (request, lender) = linger::lend(request);
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                let response = router.oneshot(request).await;
                lender.finish().await;
                response
            }
        });
        let connection =
            builder.serve_connection_with_upgrades(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
        let watched = graceful.watch(connection.into_owned());
        connections.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(cause = %error, "connection ended early");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
}
