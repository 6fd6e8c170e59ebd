//! What memory the subjects hold.

use std::time::Duration;

use super::Subjects;
use crate::calls::{Call, direct, run, run_events};
use crate::load::{Load, OpenStreams, drive};
use crate::process::Process;
use crate::sockets::Socket;

/// Streams, or sockets, that are open at a time.
const OPEN: u32 = 500;

/// Requests before the leak gate begins to count: caches and the allocator's arenas are filled by then.
const WARM_REQUESTS: u32 = 20_000;

/// How long a process settles before it is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// A value of agent-pod, and the bare proxy's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) pod: f64,
    pub(crate) bare: f64,
}

/// Memory of both subjects.
pub(crate) struct Memory {
    /// MiB, before any request.
    pub(crate) idle: Pair,
    pub(crate) open: Open,
    /// MiB that it grew by under the load of the leak gate.
    pub(crate) leak: Option<f64>,
}

/// KiB for one more open stream or socket.
pub(crate) struct Open {
    pub(crate) stream: Pair,
    pub(crate) socket: f64,
}

pub(super) async fn idle(subjects: &Subjects) -> anyhow::Result<Pair> {
    tokio::time::sleep(SETTLE).await;
    Ok(Pair { pod: mib(subjects.pod.resident()?), bare: mib(subjects.proxy.resident()?) })
}

/// `fresh` is a pod that has done nothing yet: one that has would put sockets into memory that it holds already.
pub(super) async fn open(subjects: &Subjects, fresh: &Process) -> anyhow::Result<Open> {
    let begun = |call: Call, holds| Call { holds, ..call };
    let stream = Pair {
        pod: per_stream(&subjects.pod, &begun(run_events("gate"), "a few words")).await?,
        bare: per_stream(&subjects.proxy, &begun(direct("gate"), "a few words")).await?,
    };
    Socket::open(fresh.address, "json").await?.turn().await?;
    let before = fresh.resident()?;
    let mut sockets = Vec::new();
    for _ in 0..OPEN {
        let mut socket = Socket::open(fresh.address, "json").await?;
        socket.turn().await?;
        sockets.push(socket);
    }
    tokio::time::sleep(SETTLE).await;
    let socket = kib(fresh.resident()?) - kib(before);
    Ok(Open { stream, socket: socket / f64::from(OPEN) })
}

async fn per_stream(subject: &Process, call: &Call) -> anyhow::Result<f64> {
    let before = subject.resident()?;
    let streams = OpenStreams::open(subject.address, call, OPEN).await?;
    tokio::time::sleep(SETTLE).await;
    let grown = kib(subject.resident()?) - kib(before);
    drop(streams);
    tokio::time::sleep(SETTLE).await;
    Ok(grown / f64::from(OPEN))
}

pub(super) async fn growth(pod: &Process, requests: u32) -> anyhow::Result<f64> {
    let call = [run("json")];
    drive(pod.address, &call, Load { requests: WARM_REQUESTS, connections: 32, pace: None }).await?;
    tokio::time::sleep(SETTLE).await;
    let before = pod.resident()?;
    drive(pod.address, &call, Load { requests, connections: 32, pace: None }).await?;
    tokio::time::sleep(SETTLE).await;
    Ok(mib(pod.resident()?) - mib(before))
}

fn kib(bytes: u64) -> f64 {
    mib(bytes) * 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
