//! The admin port and the signals, on a thread and a runtime of their own: whatever keeps the threads busy that serve
//! callers, probes are answered, and the process can be told to end.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use agent_pod_core::error::RunError;
use agent_pod_core::service::{AdminService, TaggedState};
use agent_pod_runtime::Runtime;
use anyhow::Context as _;
use astromesh_logs::Logs;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::listener::Port;
use super::places::Places;
use super::signals::{Signals, Stop};

/// The connections of the admin port: the kubelet, a scraper, the operator's replicas, somebody who looks. One more takes
/// the place of the one that has been silent for longest.
const CONNECTIONS_MAX: usize = 24;

/// Threads for metrics and the state.
const ASIDE_MAX: usize = 2;

/// How often the threads that serve callers have to show that they are alive.
const PULSE: Duration = Duration::from_secs(1);

/// So many pulses may be missed before a restart is the better choice: more than any load, any garbage of a neighbour or
/// any pause of a machine that is short of CPU takes.
const MISSED_MAX: u32 = 60;

/// What the thread needs.
pub(super) struct Admin {
    pub(super) listener: TcpListener,
    pub(super) runtime: Arc<Runtime>,
    pub(super) write_timeout: Duration,
    pub(super) logs: Logs,
    /// Whether clients learn at once that the pod is not ready, because there are no endpoints that have to.
    pub(super) standalone: bool,
    pub(super) pulse: Arc<Pulse>,
}

/// How many pulses the threads that serve callers have missed.
///
/// Both sides count, and neither looks at a clock: a process that was stopped as a whole has missed nothing.
#[derive(Default)]
pub(super) struct Pulse(AtomicU32);

impl Pulse {
    /// Shows for ever that the runtime that polls this is alive.
    pub(super) async fn beat(&self) {
        let mut ticks = interval(PULSE);
        loop {
            ticks.tick().await;
            self.0.store(0, Ordering::Relaxed);
        }
    }

    async fn count(&self) {
        let mut ticks = interval(PULSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) < MISSED_MAX
    }
}

/// What the admin port answers with.
struct Service {
    runtime: Arc<Runtime>,
    logs: Logs,
    pulse: Arc<Pulse>,
}

impl AdminService for Service {
    fn alive(&self) -> bool {
        self.pulse.is_there()
    }

    fn ready(&self) -> bool {
        self.runtime.ready()
    }

    fn state(&self) -> TaggedState {
        self.runtime.state()
    }

    fn state_changes(&self) -> watch::Receiver<String> {
        self.runtime.state_changes()
    }

    fn metrics(&self) -> String {
        self.runtime.process().log_lines_dropped(self.logs.dropped());
        self.runtime.metrics()
    }

    fn may_read_state(&self, token: Option<&str>) -> Result<(), RunError> {
        self.runtime.may_read_state(token)
    }
}

/// Starts the thread. From when this returns, signals stop the pod in order. The thread lives as long as the process; the
/// second token is cancelled if it should end all the same.
pub(super) fn start(admin: Admin) -> anyhow::Result<(CancellationToken, CancellationToken)> {
    let (stop, ended) = <(CancellationToken, CancellationToken)>::default();
    let (ready, started) = mpsc::channel();
    let (stopping, guard) = (stop.clone(), ended.clone().drop_guard());
    let thread = thread::Builder::new().name("admin".to_owned());
    thread
        .spawn(move || run(admin, stopping, &ready, guard))
        .context("failed to start the thread of the admin port")?;
    started.recv().context("the thread of the admin port ended")??;
    Ok((stop, ended))
}

fn run(admin: Admin, stop: CancellationToken, ready: &mpsc::Sender<anyhow::Result<()>>, _guard: DropGuard) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(ASIDE_MAX).build();
    let runtime = match runtime.context("failed to start the runtime of the admin port") {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        let prepared =
            Signals::new().and_then(|signals| Ok((signals, tokio::net::TcpListener::from_std(admin.listener)?)));
        let (signals, listener) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return drop(ready.send(Err(error))),
        };
        drop(ready.send(Ok(())));
        let Admin { runtime, write_timeout, logs, standalone, pulse, listener: _ } = admin;
        let service = Service { runtime: Arc::clone(&runtime), logs: logs.clone(), pulse: Arc::clone(&pulse) };
        let port = Arc::new(Port {
            router: agent_pod_api::admin_router(Arc::new(service)),
            places: Places::new("admin", CONNECTIONS_MAX, Arc::clone(&runtime)),
            write_timeout,
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            remains: TaskTracker::new(),
        });
        let stop = Stop { stop, runtime, logs, standalone };
        tokio::join!(port.serve(listener), pulse.count(), stop.on(signals));
    });
}
