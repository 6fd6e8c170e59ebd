//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::byte_pool::BytePool;
use agent_pod_core::service::AgentService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the handlers of the public port share. Clones are cheap and are the same state.
#[derive(Clone)]
pub struct ApiState {
    /// The agents of this pod.
    pub agents: Arc<dyn AgentService>,
    /// The version that `/v1/health` reports.
    pub version: &'static str,
    /// Cancelled when the pod stops: every WebSocket ends its run in flight, then closes with 1012, and no new one
    /// opens. Requests are not touched; whoever serves the router lets them end.
    pub shutdown: CancellationToken,
    /// Tracks every open WebSocket, because upgraded connections are no longer the server's: after
    /// [`TaskTracker::close`], [`TaskTracker::wait`] returns when the last one has ended.
    pub sockets: TaskTracker,
    /// What bodies and messages draw on.
    pub pool: BytePool,
    /// The time limits of WebSockets.
    pub socket_limits: SocketLimits,
}

/// The time limits of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// A ping goes out this often. 20 s stay below the idle limits of usual load balancers (60 s).
    pub ping_interval: Duration,
    /// A client that has said nothing for so long, not even a pong, is taken to be gone. 60 s are three lost pings.
    pub pong_timeout: Duration,
    /// A client that does not take a frame for so long is dropped, so that a slow reader cannot hold a run forever.
    pub send_timeout: Duration,
}

impl ApiState {
    /// The state with the default limits and no socket yet.
    #[must_use]
    pub fn new(agents: Arc<dyn AgentService>, version: &'static str, shutdown: CancellationToken) -> Self {
        Self {
            agents,
            version,
            shutdown,
            sockets: TaskTracker::new(),
            pool: BytePool::of_process().clone(),
            socket_limits: SocketLimits::default(),
        }
    }
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(30),
        }
    }
}
