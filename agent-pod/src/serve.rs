//! `agent-pod serve`: sockets, signals, and the order in which everything starts and stops.

mod linger;
mod listener;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_api::ApiState;
use agent_pod_runtime::source::WatchError;
use agent_pod_runtime::source::manifests::Folder;
use agent_pod_runtime::source::mounted::Mounted;
use agent_pod_runtime::{Runtime, discovery};
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Where agents come from.
pub(crate) enum Source {
    /// A folder of manifests, without a cluster.
    Folder(Folder),
    /// The operator's mounted files.
    Mounted(Mounted),
}

/// What to serve, and where.
pub(crate) struct Server {
    pub(crate) source: Source,
    /// Folder of what agents keep on disk.
    pub(crate) data: Option<PathBuf>,
    /// File of the token that agents show each other.
    pub(crate) token_file: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    /// How long a client may take nothing of what it is sent.
    pub(crate) write_timeout: Duration,
}

/// Serves until SIGTERM or Ctrl-C, then drains.
pub(crate) fn run(server: Server) -> anyhow::Result<ExitCode> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the async runtime")?;
    tokio.block_on(serve(server))
}

async fn serve(server: Server) -> anyhow::Result<ExitCode> {
    let Server { source, data, token_file, listen, admin_listen, write_timeout } = server;
    let runtime = match &source {
        Source::Folder(_) => Runtime::standalone(),
        Source::Mounted(mounted) => Runtime::in_cluster(&mounted.secrets),
    };
    let runtime = runtime.identified_by(token_file);
    let runtime = Arc::new(match data {
        Some(folder) => runtime.keeping_files_in(folder),
        None => runtime,
    });
    let mut stop = StopSignal::new()?;
    let public = bind(listen).await?;
    let admin = bind(admin_listen).await?;
    tracing::info!(address = %public.local_addr()?, admin = %admin.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");

    let draining = CancellationToken::new();
    let closing = CancellationToken::new();
    let ended = CancellationToken::new();
    let state = ApiState::new(Arc::clone(&runtime.registry) as _, env!("CARGO_PKG_VERSION"), draining.clone());
    let sockets = state.sockets.clone();
    let standalone = matches!(source, Source::Folder(_));

    let api = listener::serve(public, agent_pod_api::router(state), write_timeout, closing.clone());
    let admin_routes = agent_pod_api::admin_router(Arc::clone(&runtime) as _);
    let admin = listener::serve(admin, admin_routes, write_timeout, ended.clone());
    let following = follow(source, Arc::clone(&runtime));
    let stopping = async {
        stop.received().await;
        let (mut delay, drain) = runtime.stop_times();
        if standalone {
            delay = Duration::ZERO;
        }
        drain_in_order(&runtime, delay, drain, (&draining, &closing)).await;
        drain
    };

    tokio::pin!(api, admin, following);
    let drain = tokio::select! {
        result = &mut following => { result.context("stopped following the configuration")?; Duration::ZERO }
        () = &mut api => anyhow::bail!("the API's listener ended"),
        () = &mut admin => anyhow::bail!("the admin listener ended"),
        drain = stopping => drain,
    };
    // The admin port answers to the last: a probe or the operator may ask while runs end.
    let last_runs = async {
        api.await;
        sockets.close();
        sockets.wait().await;
        runtime.registry.settle().await;
    };
    tokio::select! {
        finished = tokio::time::timeout(drain, last_runs) => {
            if finished.is_err() {
                tracing::warn!(in_flight = runtime.registry.in_flight(), "drain timeout is over; the remaining runs are cut off");
            }
        }
        () = &mut admin => {}
        _ = &mut following => {}
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Not ready at once, serving on for `delay` until every client has learnt it, then refusing what is new.
async fn drain_in_order(
    runtime: &Runtime,
    delay: Duration,
    drain: Duration,
    (draining, closing): (&CancellationToken, &CancellationToken),
) {
    tracing::info!(?delay, ?drain, "stopping");
    runtime.registry.drain();
    tokio::time::sleep(delay).await;
    draining.cancel();
    closing.cancel();
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))
}

async fn follow(source: Source, runtime: Arc<Runtime>) -> Result<(), WatchError> {
    match source {
        Source::Folder(folder) => folder.follow(runtime).await,
        // Only an operator reads what the servers say of themselves.
        Source::Mounted(mounted) => tokio::select! {
            ended = mounted.follow(Arc::clone(&runtime)) => ended,
            () = discovery::follow(&runtime.registry) => Ok(()),
        },
    }
}

/// SIGTERM from the kubelet, or Ctrl-C at a terminal.
struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("failed to listen for Ctrl-C")?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
