//! A model server on bare TCP that does what its script says, byte by byte, and remembers what came.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::ReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::reply::{Act, Reply};
use crate::world::until;

/// A request with a body, as it came. Others, which cost no tokens, are answered and forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) body: Value,
    /// When the peer hung up before the script was over.
    pub(crate) hung_up: Option<Instant>,
}

#[derive(Clone)]
struct Shared(Arc<Inner>);

struct Inner {
    calls: Mutex<Vec<Call>>,
    /// What comes next; the last one stays.
    script: Mutex<VecDeque<Reply>>,
    gate: Semaphore,
    connections: AtomicUsize,
}

/// A server; it ends when it is dropped.
pub(crate) struct ModelServer {
    /// Its address, `host:port`.
    pub(crate) address: String,
    shared: Shared,
    _accepting: JoinSet<()>,
}

impl ModelServer {
    /// A server that answers its calls with these replies, and with the last one from then on.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let inner = Inner {
            calls: Mutex::default(),
            script: Mutex::default(),
            gate: Semaphore::new(0),
            connections: AtomicUsize::new(0),
        };
        let shared = Shared(Arc::new(inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut accepting = JoinSet::new();
        let serving = shared.clone();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = serving.clone();
                connections.spawn(async move {
                    serving.0.connections.fetch_add(1, Ordering::Relaxed);
                    serving.clone().serve(stream).await;
                    serving.0.connections.fetch_sub(1, Ordering::Relaxed);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        let server = Self { address, shared, _accepting: accepting };
        server.script(replies);
        server
    }

    /// A server that always answers well.
    pub(crate) async fn good(text: &str) -> Self {
        Self::start([Reply::answer(text)]).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// From now on these are the replies.
    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.shared.0.script.lock().unwrap() = replies.into_iter().collect();
    }

    /// Lets so many gates open.
    pub(crate) fn release(&self, gates: usize) {
        self.shared.0.gate.add_permits(gates);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.calls().len()
    }

    /// Connections that neither side has closed.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.0.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many calls have come.
    pub(crate) async fn await_calls(&self, count: usize) {
        until("a call", async || self.count() >= count).await;
    }

    /// Waits until the peer of a call has hung up, and tells when that was.
    pub(crate) async fn await_hang_up(&self, call: usize) -> Instant {
        let hung_up = || self.shared.calls().get(call).and_then(|call| call.hung_up);
        until("a hang-up", async || hung_up().is_some()).await;
        hung_up().unwrap()
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.calls.lock().unwrap()
    }

    fn next_reply(&self) -> Reply {
        let mut script = self.0.script.lock().unwrap();
        if script.len() > 1 { script.pop_front() } else { script.front().cloned() }.unwrap()
    }

    /// Serves a connection until one side has had enough.
    async fn serve(self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut received = Vec::new();
        while let Some((head, body)) = read_request(&mut stream, &mut received).await {
            if !head.starts_with("POST ") {
                if self.perform(&mut stream, Reply::refusal(404, &[])).await.is_err() {
                    return;
                }
                continue;
            }
            let reply = self.next_reply();
            let index = {
                let mut calls = self.calls();
                calls.push(Call { head, body: serde_json::from_slice(&body).unwrap(), hung_up: None });
                calls.len() - 1
            };
            match self.perform(&mut stream, reply).await {
                Ok(()) => {}
                Err(End::HungUp) => {
                    self.calls()[index].hung_up = Some(Instant::now());
                    return;
                }
                Err(End::Scripted) => return,
            }
        }
    }

    async fn perform(&self, stream: &mut TcpStream, reply: Reply) -> Result<(), End> {
        for act in reply.0 {
            let (mut reader, mut writer) = stream.split();
            match act {
                Act::Send(bytes) => tokio::select! {
                    sent = writer.write_all(&bytes) => sent.map_err(|_| End::HungUp)?,
                    () = gone(&mut reader) => return Err(End::HungUp),
                },
                Act::Flood(bytes) => tokio::select! {
                    () = async { while writer.write_all(&bytes).await.is_ok() {} } => return Err(End::HungUp),
                    () = gone(&mut reader) => return Err(End::HungUp),
                },
                Act::Gate => tokio::select! {
                    permit = self.0.gate.acquire() => permit.unwrap().forget(),
                    () = gone(&mut reader) => return Err(End::HungUp),
                },
                Act::Pause(time) => drop(tokio::time::timeout(time, gone(&mut reader)).await),
                Act::Silence => {
                    gone(&mut reader).await;
                    return Err(End::HungUp);
                }
                Act::Close => return Err(End::Scripted),
                Act::Reset => {
                    stream.set_zero_linger().unwrap();
                    return Err(End::Scripted);
                }
            }
        }
        Ok(())
    }
}

/// Why a connection ends.
enum End {
    HungUp,
    Scripted,
}

/// Waits until the peer has hung up.
async fn gone(reader: &mut ReadHalf<'_>) {
    let mut byte = [0];
    while matches!(reader.read(&mut byte).await, Ok(1..)) {}
}

/// Head and body of the next request; none when the peer says nothing more, or no HTTP.
async fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let head_length = loop {
        if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if received.first().is_some_and(|first| !first.is_ascii_uppercase()) {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await);
            return None;
        }
        read_more(stream, received).await?;
    };
    let head = String::from_utf8(received.drain(..head_length).collect()).unwrap();
    let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
    while received.len() < length {
        read_more(stream, received).await?;
    }
    Some((head, received.drain(..length).collect()))
}

async fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(received).await.ok()?;
    (read > 0).then_some(())
}

/// The value of a header.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}
