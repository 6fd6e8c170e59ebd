//! The load generator: connections that are kept, each with one request at a time.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Interval, interval_at, timeout};

use crate::calls::Call;

/// How long one load may take.
const LOAD_WAIT: Duration = Duration::from_secs(600);

/// How long one answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How much, and how much of it at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) requests: u32,
    pub(crate) connections: u32,
    /// How long after its last request each connection sends the next one; absent: as soon as that is answered.
    ///
    /// A subject that is late gets its requests all the same, so that the rate does not depend on it.
    pub(crate) pace: Option<Duration>,
}

/// Sends the calls in turn until there were so many requests; gives each one's time. The first bad answer ends it.
pub(crate) async fn drive(address: SocketAddr, calls: &[Call], load: Load) -> anyhow::Result<Vec<Duration>> {
    let left = Rc::new(Cell::new(load.requests));
    let calls: Rc<[Call]> = calls.into();
    let local = LocalSet::new();
    let mut clients = JoinSet::new();
    for place in 0..load.connections {
        let pace = load.pace.map(|pace| pace_from(place, load.connections, pace));
        clients.spawn_local_on(client(address, Rc::clone(&calls), Rc::clone(&left), pace), &local);
    }
    let all = local.run_until(async {
        let mut times = Vec::with_capacity(usize::try_from(load.requests)?);
        while let Some(ended) = clients.join_next().await {
            times.append(&mut ended??);
        }
        anyhow::Ok(times)
    });
    timeout(LOAD_WAIT, all).await.context("the load did not end in time")?
}

/// The beats of one of several connections, which send in turn and not all at once.
fn pace_from(place: u32, connections: u32, pace: Duration) -> Interval {
    interval_at(tokio::time::Instant::now() + pace * place / connections, pace)
}

async fn client(
    address: SocketAddr,
    calls: Rc<[Call]>,
    left: Rc<Cell<u32>>,
    mut pace: Option<Interval>,
) -> anyhow::Result<Vec<Duration>> {
    let mut connection = Connection::open(address).await?;
    let mut times = Vec::new();
    for call in calls.iter().cycle() {
        let Some(rest) = left.get().checked_sub(1) else { break };
        left.set(rest);
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let begun = Instant::now();
        timeout(ANSWER_WAIT, connection.ask(call)).await.context("no answer in time")??;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// A connection to a subject; dropping it closes it.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a call and gives its answer's head.
    pub(crate) async fn send(&mut self, call: &Call) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::post(&call.path).body(Full::new(call.body.clone()))?;
        request.headers_mut().clone_from(&call.headers);
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    async fn ask(&mut self, call: &Call) -> anyhow::Result<()> {
        let response = self.send(call).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let good = status.is_success() && holds(&body, call.holds);
        anyhow::ensure!(good, "{} answered {status}: {}", call.path, String::from_utf8_lossy(&body));
        Ok(())
    }
}

fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Streams that have begun and are held open by the model server; dropping them closes them.
pub(crate) struct OpenStreams {
    _streams: Vec<(Connection, Incoming)>,
}

impl OpenStreams {
    /// Opens them one after the other, each until its first bytes are there.
    pub(crate) async fn open(address: SocketAddr, call: &Call, count: u32) -> anyhow::Result<Self> {
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut connection = Connection::open(address).await?;
            let response = timeout(ANSWER_WAIT, connection.send(call)).await.context("no answer in time")??;
            anyhow::ensure!(response.status().is_success(), "{} answered {}", call.path, response.status());
            let mut body = response.into_body();
            let mut seen = Vec::new();
            while !holds(&seen, call.holds) {
                let frame = timeout(ANSWER_WAIT, body.frame()).await.context("no chunk in time")?;
                let frame = frame.context("the stream ended at once")??;
                seen.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
            streams.push((connection, body));
        }
        Ok(Self { _streams: streams })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_answer_is_told_from_a_bad_one() {
        assert!(holds(b"{\"finish\":\"stop\"}", "\"finish\":\"stop\""));
        assert!(!holds(b"{\"error\":{}}", "\"finish\":\"stop\""));
        assert!(!holds(b"", "x"));
    }
}
