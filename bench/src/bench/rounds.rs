//! The rounds: every subject is measured once in each, first the one and then the other.

use std::time::Duration;

use super::{Settings, Subjects};
use crate::calls::{self, Call, direct, run_events, tool_answer, tool_question};
use crate::load::{Load, drive};
use crate::process::Process;
use crate::sockets::Socket;
use crate::statistics::percentile;

/// Chunks of the long stream beyond those of the short one.
const MORE_CHUNKS: f64 = 20.0;

/// Connections of a load.
const MANY: u32 = 32;

/// How often each of them sends at the fixed rate of 2,000 requests a second.
const PACE: Duration = Duration::from_millis(16);

/// A figure of each round.
#[derive(Default)]
pub(crate) struct Figures {
    /// Microseconds of CPU of a one-call run at 32 connections.
    pub(crate) json_cpu: Vec<f64>,
    /// The same at 2,000 runs a second, which neither subject is busy with.
    pub(crate) paced_cpu: Vec<f64>,
    /// Microseconds of CPU of a chunk.
    pub(crate) chunk_cpu: Vec<f64>,
    /// Microseconds of CPU of a stream of 21 chunks.
    pub(crate) stream_cpu: Vec<f64>,
    /// Milliseconds of a one-call run at one connection.
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
}

/// What only agent-pod does, in microseconds of CPU.
#[derive(Default)]
pub(crate) struct Own {
    /// A one-call run whose model answers with a stream.
    pub(crate) streamed_call: Vec<f64>,
    /// A tool round trip.
    pub(crate) tool: Vec<f64>,
    /// A turn of a WebSocket.
    pub(crate) socket: Vec<f64>,
}

/// The figures of all rounds.
#[derive(Default)]
pub(crate) struct Rounds {
    pub(crate) pod: Figures,
    pub(crate) bare: Figures,
    pub(crate) own: Own,
}

struct Calls {
    json: Call,
    short: Call,
    long: Call,
}

pub(super) async fn run(subjects: &Subjects, settings: &Settings) -> anyhow::Result<Rounds> {
    let mut rounds = Rounds::default();
    let pod = Calls { json: calls::run("json"), short: run_events("stream-1"), long: run_events("stream-21") };
    let bare = Calls { json: direct("json"), short: direct("stream-1"), long: direct("stream-21") };
    for (subject, calls) in [(&subjects.pod, &pod), (&subjects.proxy, &bare)] {
        let warm = Load { requests: settings.requests / 4, connections: MANY, pace: None };
        drive(subject.address, &[calls.json.clone(), calls.long.clone()], warm).await?;
    }
    for round in 0..settings.rounds {
        if round % 2 == 0 {
            rounds.pod.measure(&subjects.pod, &pod, settings.requests).await?;
            rounds.bare.measure(&subjects.proxy, &bare, settings.requests).await?;
        } else {
            rounds.bare.measure(&subjects.proxy, &bare, settings.requests).await?;
            rounds.pod.measure(&subjects.pod, &pod, settings.requests).await?;
        }
        rounds.own.measure(&subjects.pod, settings.requests).await?;
    }
    Ok(rounds)
}

impl Figures {
    async fn measure(&mut self, subject: &Process, calls: &Calls, requests: u32) -> anyhow::Result<()> {
        let Calls { json, short, long } = calls;
        self.json_cpu.push(cpu_of_each(subject, &[json], requests).await?);
        let paced = Load { requests, connections: MANY, pace: Some(PACE) };
        self.paced_cpu.push(cpu_under(subject, &[json], paced).await?);
        let short = cpu_of_each(subject, &[short], requests / 4).await?;
        let long = cpu_of_each(subject, &[long], requests / 4).await?;
        self.stream_cpu.push(long);
        self.chunk_cpu.push((long - short) / MORE_CHUNKS);
        let alone = Load { requests: requests / 4, connections: 1, pace: None };
        let times = drive(subject.address, std::slice::from_ref(json), alone).await?;
        let millis: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        self.p50.push(percentile(&millis, 50));
        self.p99.push(percentile(&millis, 99));
        Ok(())
    }
}

impl Own {
    async fn measure(&mut self, pod: &Process, requests: u32) -> anyhow::Result<()> {
        self.streamed_call.push(cpu_of_each(pod, &[&calls::run("stream-1")], requests / 4).await?);
        let halves = cpu_of_each(pod, &[&tool_question(), &tool_answer()], requests / 4).await?;
        self.tool.push(2.0 * halves);
        let mut socket = Socket::open(pod.address, "json").await?;
        let before = pod.cpu()?;
        for _ in 0..requests / 4 {
            socket.turn().await?;
        }
        self.socket.push((pod.cpu()? - before).as_secs_f64() * 1e6 / f64::from(requests / 4));
        Ok(())
    }
}

/// Microseconds of CPU that the subject uses for each of so many requests, sent as fast as it answers.
async fn cpu_of_each(subject: &Process, calls: &[&Call], requests: u32) -> anyhow::Result<f64> {
    cpu_under(subject, calls, Load { requests, connections: MANY, pace: None }).await
}

async fn cpu_under(subject: &Process, calls: &[&Call], load: Load) -> anyhow::Result<f64> {
    let calls: Vec<Call> = calls.iter().copied().cloned().collect();
    let before = subject.cpu()?;
    drive(subject.address, &calls, load).await?;
    Ok((subject.cpu()? - before).as_secs_f64() * 1e6 / f64::from(load.requests))
}
