//! An accept loop: TCP_NODELAY, the peer's address for access decisions, HTTP/1 and HTTP/2, a graceful end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_api::Presence;
use agent_pod_runtime::{BytePool, ByteReservation, PoolError, Priority};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::connection::{Attended, IDLE_MAX, Socket, attend};
use super::linger;
use super::places::{Attending, Place, Places, Visit};

/// After a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What hyper may hold of one HTTP/1 connection; no head of a request is longer.
const HTTP1_BUFFER_BYTES: usize = 32 * 1024;

/// A head of so many bytes is part of its connection; usual ones have less than a fourth of that.
const HEAD_FREE_BYTES: usize = 4 * 1024;

/// What each field of a head takes beside its bytes.
const FIELD_BYTES: usize = 64;

/// The most streams of one HTTP/2 connection: as many as common servers allow.
const STREAMS_MAX: u32 = 100;

/// What a client may send on one stream, and on one connection, before somebody has read it.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// What is kept of an answer for a stream whose client does not take it.
const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// The headers of one HTTP/2 request, as HTTP/2 counts them.
const HEADER_LIST_BYTES: u32 = 32 * 1024;

/// Streams that a client has opened and reset before they were looked at: beyond, the connection ends ("rapid reset").
const PENDING_RESETS_MAX: usize = 20;

/// Streams that the client's own faults have reset: beyond, the connection ends.
const FAULTS_MAX: usize = 128;

/// A client of HTTP/2 is asked for a sign of life this often, and has as long to give it.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// What the kernel keeps for a connection in each direction, in bytes; it doubles that for its own books. It counts as the
/// pod's memory, and would by itself grow to many MiB for each client that sends more than is read, or reads less than is
/// sent.
const SOCKET_BUFFER_BYTES: u32 = 256 * 1024;

/// Clients that are not accepted yet.
const BACKLOG: u32 = 1024;

/// A socket for a port; what it accepts inherits its buffers.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How a port is served.
pub(super) struct Port {
    pub(super) router: Router,
    pub(super) places: Arc<Places>,
    /// A client that takes nothing for so long is cut off. While nothing can be written, nobody asks a run for its events
    /// either: without this bound a reader that reads no more would hold its run, and the provider's connection, for as
    /// long as it likes.
    pub(super) write_timeout: Duration,
    /// From then on nobody else is let in, and whoever is connected is told to go after the answers that it waits for.
    pub(super) stop: CancellationToken,
    /// From then on requests that are still without an answer get one that says that the pod is stopping.
    pub(super) give_up: CancellationToken,
    /// What is left of bodies that nobody reads.
    pub(super) remains: TaskTracker,
}

impl Port {
    /// Serves until `stop`; then accepts no more, and returns when every connection has ended.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let builder = protocols();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => break,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    // Without a place it is closed at once, which says more than a connection that nobody answers.
                    if let Some(place) = self.places.take().await {
                        connections.spawn(self.connection(&builder, (stream, peer), place));
                    }
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// The future of a connection.
    fn connection(
        self: &Arc<Self>,
        builder: &auto::Builder<TokioExecutor>,
        (stream, peer): (TcpStream, SocketAddr),
        place: Place,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Without it a streamed token waits for the client's delayed acknowledgement: 40 ms instead of none.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(cause = %error, "TCP_NODELAY not set");
        }
        let entered = Arc::new(self.places.enter());
        let (visit, port) = (Arc::clone(&entered.visit), Arc::clone(self));
        let presence = presence_of(&visit);
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            let (attending, port) = (visit.attend(), Arc::clone(&port));
            request.extensions_mut().insert(presence.clone());
            async move { Ok::<_, Infallible>(port.answer(request, peer, attending).await) }
        });
        let socket = TokioIo::new(Socket::new(stream, self.write_timeout, Arc::clone(&entered), place));
        let connection = builder.serve_connection_with_upgrades(socket, TowerToHyperService::new(service));
        attend(connection.into_owned(), entered, self.stop.clone())
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        attending: Attending,
    ) -> hyper::Response<Attended> {
        let (held, refusal) = match held_for_head(&request) {
            Ok(held) => (Some(held), agent_pod_api::misdirected(request.version(), request.uri(), request.headers())),
            Err(_no_memory) => (None, Some(agent_pod_api::overloaded(request.uri().path()))),
        };
        let (request, lender) = linger::lend(request);
        let mut response = match refusal {
            Some(refusal) => {
                drop(request);
                refusal
            }
            None => self.handle(request.map(Body::new), peer).await,
        };
        drop(held);
        if let Some(rest) = lender.returned() {
            self.remains.spawn(linger::discard(rest));
            // Nothing that follows such a body is worth waiting for: a client that notices stops sending it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Attended::new(body, attending))
    }

    async fn handle(&self, mut request: Request<Body>, peer: SocketAddr) -> Response {
        request.extensions_mut().insert(ConnectInfo(peer));
        let target = request.uri().clone();
        let answered = self.give_up.run_until_cancelled(self.router.clone().oneshot(request)).await;
        match answered {
            Some(Ok(response)) => response,
            None => agent_pod_api::stopping(target.path()),
        }
    }
}

/// What the port knows a connection by, for when it becomes a WebSocket.
fn presence_of(visit: &Arc<Visit>) -> Presence {
    let attending = Arc::clone(visit);
    Presence::new(move || Box::new(attending.attend()), visit.give_way.clone())
}

/// What the head of a request takes while it waits for its body and its answer.
fn held_for_head(request: &Request<Incoming>) -> Result<ByteReservation, PoolError> {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let (bytes, mut held) = (target + fields.sum::<usize>(), BytePool::of_process().reservation());
    if bytes > HEAD_FREE_BYTES {
        held.try_grow(bytes, Priority::Body)?;
    }
    Ok(held)
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The time of a head begins with the end of the answer before it, and so bounds idle connections, too.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(FAULTS_MAX);
    builder
}
