//! SIGTERM from the kubelet, Ctrl-C at a terminal, and what they do.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_runtime::Runtime;
use anyhow::Context as _;
use astromesh_logs::Logs;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::FAREWELL;

/// How much longer than the runs' time, and the farewell, a stop may take before the process is ended from here: together
/// with the latter less than the 5 s that the operator adds to the pod's grace period.
const MARGIN: Duration = Duration::from_secs(1);

/// The exit code of a process that did not stop by itself.
const NOT_STOPPED: i32 = 1;

/// The signals that stop a pod.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    Terminate,
    Interrupt,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("failed to listen for Ctrl-C")?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::Terminate,
            _ = self.interrupt.recv() => Received::Interrupt,
        }
    }

    /// The second signal that is meant: a kubelet that was restarted repeats its SIGTERM.
    async fn again(&mut self, first: Received) -> Received {
        loop {
            let second = self.next().await;
            if second == Received::Interrupt || first == Received::Interrupt {
                return second;
            }
        }
    }
}

/// What is told to stop.
pub(super) struct Stop {
    pub(super) stop: CancellationToken,
    pub(super) runtime: Arc<Runtime>,
    pub(super) logs: Logs,
    pub(super) standalone: bool,
}

impl Stop {
    /// Stops the pod in order at the first signal, and ends the process at the second, or when the pod does not stop.
    pub(super) async fn on(self, mut signals: Signals) {
        let first = signals.next().await;
        self.stop.cancel();
        let (delay, drain) = times(&self.runtime, self.standalone);
        let end = Instant::now() + delay + drain + FAREWELL + MARGIN;
        match timeout_at(end, signals.again(first)).await {
            Ok(second) => {
                tracing::warn!("told to stop once more; ending at once");
                end_process(&self.logs, if second == Received::Interrupt { 130 } else { 143 });
            }
            Err(_late) => {
                tracing::error!(
                    in_flight = self.runtime.registry.in_flight(),
                    "the pod did not stop in time; ending it"
                );
                end_process(&self.logs, NOT_STOPPED);
            }
        }
    }
}

/// How long the pod serves on after it has been told to stop, and how long its runs may then take.
pub(super) fn times(runtime: &Runtime, standalone: bool) -> (Duration, Duration) {
    let (delay, drain) = runtime.stop_times();
    // Without endpoints nobody has to learn of it first.
    (if standalone { Duration::ZERO } else { delay }, drain)
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "the thread that would return from main may hang")]
fn end_process(logs: &Logs, code: i32) -> ! {
    logs.finish();
    std::process::exit(code)
}
