//! `agent-pod serve`: the order in which everything starts and stops.
//!
//! ```text
//!  thread `admin`      probes, metrics, state; signals; ends the process if nothing else does
//!  runtime's workers   callers' connections and their runs; discovery; changes of the state
//!  a blocking thread   reading and building what is served
//!  main thread         starts all that, and stops it in order
//!  thread `logs`       writes what the others log
//! ```

mod admin;
mod connection;
mod descriptors;
mod linger;
mod listener;
mod memory;
mod places;
mod signals;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_api::ApiState;
use agent_pod_runtime::attention::Herald;
use agent_pod_runtime::ending::Ending;
use agent_pod_runtime::source::WatchError;
use agent_pod_runtime::source::manifests::Folder;
use agent_pod_runtime::source::mounted::Mounted;
use agent_pod_runtime::{BytePool, Runtime, discovery};
use anyhow::Context as _;
use astromesh_logs::Logs;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use admin::{Admin, Pulse};
use listener::Port;
use places::Places;

/// How long those whose run was cut off have to take its end, and WebSockets to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// A request that is without an answer so long after the runs' end gets one: whatever it waits for, no run is it.
const GIVE_UP_AFTER: Duration = Duration::from_millis(500);

/// Callers that come while the first load is going on wait for it at the door, rather than hear that there is no agent.
const FIRST_LOAD_WITHIN: Duration = Duration::from_secs(10);

/// How long threads that are in the middle of something may take at the end.
const THREADS_WITHIN: Duration = Duration::from_millis(100);

/// Where agents come from.
pub(crate) enum Source {
    /// A folder of manifests, without a cluster.
    Folder(Folder),
    /// The operator's mounted files.
    Mounted(Mounted),
}

impl Source {
    /// Who tells the operator of this pod; nobody where there is none.
    fn herald(&self, pod: String, token_file: &Path) -> Option<Herald> {
        match self {
            Self::Folder(_) => None,
            Self::Mounted(mounted) => {
                Some(Herald { folder: mounted.folder().to_owned(), pod, token_file: token_file.to_owned() })
            }
        }
    }
}

/// What to serve, and where.
pub(crate) struct Server {
    pub(crate) source: Source,
    /// Folder of what agents keep on disk.
    pub(crate) data: Option<PathBuf>,
    /// File of the token that agents show each other.
    pub(crate) token_file: PathBuf,
    /// The pod's name, which is its host's.
    pub(crate) pod: String,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    /// How long a client may take nothing of what it is sent.
    pub(crate) write_timeout: Duration,
    /// The most connections of callers; none: what the limit of open files allows.
    pub(crate) connections_max: Option<usize>,
    pub(crate) logs: Logs,
}

/// Gives the pool of bytes so many MiB, or what the container has room for. Before anything draws on it.
pub(crate) fn set_memory_pool(mebibytes: Option<u64>) {
    let capacity = mebibytes.map_or_else(memory::pool_capacity, |mebibytes| mebibytes * 1024 * 1024);
    if !BytePool::set_of_process(usize::try_from(capacity).unwrap_or(usize::MAX)) {
        tracing::error!("the pool of bytes was in use before its size was set");
    }
}

/// Serves until SIGTERM or Ctrl-C, then drains.
pub(crate) fn run(server: Server) -> anyhow::Result<ExitCode> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the async runtime")?;
    let result = tokio.block_on(serve(server));
    tokio.shutdown_timeout(THREADS_WITHIN);
    result
}

async fn serve(server: Server) -> anyhow::Result<ExitCode> {
    let Server { source, data, token_file, pod, listen, admin_listen, write_timeout, connections_max, logs } = server;
    let runtime = match &source {
        Source::Folder(_) => Runtime::standalone(),
        Source::Mounted(mounted) => Runtime::in_cluster(&mounted.secrets),
    };
    let herald = source.herald(pod, &token_file);
    let runtime = runtime.identified_by(token_file).rendering_in(crate::render::sandboxes()?);
    let runtime = Arc::new(match data {
        Some(folder) => runtime.keeping_files_in(folder),
        None => runtime,
    });
    let affordable = descriptors::raise_limit();
    let connections_max = connections_max.unwrap_or(affordable);
    let memory_pool = BytePool::of_process().capacity();
    let public = bind(listen)?;
    let admin = bind(admin_listen)?.into_std().context("failed to hand over the admin port")?;
    let addresses = (public.local_addr()?, admin.local_addr()?);
    let standalone = matches!(source, Source::Folder(_));
    let pulse = Arc::<Pulse>::default();
    let (stop, admin_ended) = admin::start(Admin {
        listener: admin,
        runtime: Arc::clone(&runtime),
        write_timeout,
        logs,
        standalone,
        pulse: Arc::clone(&pulse),
    })?;
    tracing::info!(address = %addresses.0, admin = %addresses.1, version = env!("CARGO_PKG_VERSION"), connections_max, memory_pool, "listening");

    let doors = Doors::new(Arc::clone(&runtime), write_timeout, connections_max);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { pulse.beat().await });
    let watched = Arc::clone(&runtime);
    tasks.spawn(async move { watched.follow_state().await });
    if let Some(herald) = herald {
        let told = Arc::clone(&runtime);
        tasks.spawn(async move { herald.follow(told).await });
        // Only an operator reads what the servers say of themselves.
        let registry = Arc::clone(&runtime.registry);
        tasks.spawn(async move { discovery::follow(&registry).await });
    }
    let mut serving = JoinSet::new();
    let (port, first) = (Arc::clone(&doors.port), Arc::clone(&runtime));
    serving.spawn(async move {
        port.stop.run_until_cancelled(first_load(&first)).await;
        port.serve(public).await;
    });
    let closed = CancellationToken::new();
    let mut following = follow(source, Arc::clone(&runtime), closed.clone());
    tokio::select! {
        () = stop.cancelled() => {}
        () = admin_ended.cancelled() => anyhow::bail!("the admin port's thread ended"),
        _ = serving.join_next() => anyhow::bail!("the API's listener ended"),
        Some(ended) = following.join_next() => {
            ended.context("following the configuration failed")?.context("stopped following the configuration")?;
            anyhow::bail!("stopped following the configuration");
        }
        Some(_) = tasks.join_next() => anyhow::bail!("a task ended"),
    }
    let (delay, drain) = signals::times(&runtime, standalone);
    doors.close(serving, delay, drain).await;
    closed.cancel();
    drop(timeout(THREADS_WITHIN, following.join_next()).await);
    tasks.shutdown().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The public port, and how it is closed.
struct Doors {
    runtime: Arc<Runtime>,
    port: Arc<Port>,
    /// WebSockets end from then on.
    draining: CancellationToken,
    sockets: TaskTracker,
    /// Runs end from then on.
    ending: CancellationToken,
}

impl Doors {
    fn new(runtime: Arc<Runtime>, write_timeout: Duration, connections_max: usize) -> Self {
        let (draining, ending) = <(CancellationToken, CancellationToken)>::default();
        let agents = Ending { agents: Arc::clone(&runtime.registry) as _, ending: ending.clone() };
        let state = ApiState::new(Arc::new(agents), env!("CARGO_PKG_VERSION"), draining.clone());
        let sockets = state.sockets.clone();
        let port = Arc::new(Port {
            router: agent_pod_api::router(state),
            places: Places::new("api", connections_max, Arc::clone(&runtime)),
            write_timeout,
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            remains: TaskTracker::new(),
        });
        Self { runtime, port, draining, sockets, ending }
    }

    /// Not ready at once, serving on for `delay` until every client has learnt it, then refusing what is new. Runs that
    /// outlive `drain` are ended, and their callers are told.
    async fn close(&self, mut serving: JoinSet<()>, delay: Duration, drain: Duration) {
        tracing::info!(?delay, ?drain, "stopping");
        self.runtime.drain();
        sleep(delay).await;
        self.draining.cancel();
        self.port.stop.cancel();
        self.sockets.close();
        let everybody = async {
            while serving.join_next().await.is_some() {}
            self.sockets.wait().await;
            self.runtime.registry.settle().await;
        };
        tokio::pin!(everybody);
        if timeout(drain, &mut everybody).await.is_ok() {
            return;
        }
        tracing::warn!(
            in_flight = self.runtime.registry.in_flight(),
            "drain timeout is over; the remaining runs are cut off"
        );
        self.runtime.process().end_runs();
        self.ending.cancel();
        let last_words = async {
            if timeout(GIVE_UP_AFTER, &mut everybody).await.is_err() {
                self.port.give_up.cancel();
                everybody.await;
            }
        };
        if timeout(FAREWELL, last_words).await.is_err() {
            tracing::warn!("some clients did not take the end of their runs");
        }
    }
}

/// Waits until something is served, but no longer than [`FIRST_LOAD_WITHIN`].
async fn first_load(runtime: &Runtime) {
    let loaded = async {
        while runtime.registry.snapshot().is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    drop(timeout(FIRST_LOAD_WITHIN, loaded).await);
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listener::bind(address).with_context(|| format!("failed to listen on {address}"))
}

/// Follows the source on a thread of its own: what it reads is parsed and built there, and nothing that serves waits.
fn follow(source: Source, runtime: Arc<Runtime>, closed: CancellationToken) -> JoinSet<Result<(), WatchError>> {
    let (mut following, tokio) = (JoinSet::new(), tokio::runtime::Handle::current());
    following.spawn_blocking(move || {
        tokio.block_on(async {
            let followed = async {
                match source {
                    Source::Folder(folder) => folder.follow(runtime).await,
                    Source::Mounted(mounted) => mounted.follow(runtime).await,
                }
            };
            closed.run_until_cancelled(followed).await.unwrap_or(Ok(()))
        })
    });
    following
}
