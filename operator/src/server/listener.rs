//! Connections with bounds: so many at once, each for one request and for so long. When there are too many, the oldest one
//! makes room: it is the one that is most likely to be of no use, and whoever is probed waits for nobody.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// After a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is held of the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the port spends on its callers.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Within this time the head of the request has to be there.
    pub head: Duration,
    /// Within this time everything has to be over, the answer taken included.
    pub whole: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 256, head: Duration::from_secs(10), whole: Duration::from_secs(20) }
    }
}

/// Accepts and serves for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, router: Router, bounds: Bounds) {
    // HTTP/1, and no connection is kept for a second request: nobody here asks often, and so none is ever idle.
    let mut protocol = auto::Builder::new(TokioExecutor::new()).http1_only();
    let timer = TokioTimer::new();
    protocol.http1().timer(timer).header_read_timeout(bounds.head).max_buf_size(HEAD_BYTES_MAX).keep_alive(false);
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(bounds.connections);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        if open.len() >= bounds.connections
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(tasks.spawn(attend(stream, router.clone(), protocol.clone(), bounds.whole)));
    }
}

async fn attend(stream: TcpStream, router: Router, protocol: auto::Builder<TokioExecutor>, whole: Duration) {
    let connection = protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(whole, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(cause = %error, "connection ended early"),
        Err(_elapsed) => tracing::debug!("connection cut off, it took too long"),
    }
}
