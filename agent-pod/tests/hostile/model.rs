//! A model server, or any server that a pod calls, which does what its script says.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::spawn;
use std::time::Duration;

use serde_json::{Value, json};

/// The head of an event stream.
pub(crate) const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
/// The head of a JSON reply that ends with the connection.
pub(crate) const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
/// What ends a stream in good order.
pub(crate) const END: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

/// What a server does with a request that it has read.
type Script = dyn Fn(&Value, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// A server. Its threads end with the test's process.
pub(crate) struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    /// The key that callers must have.
    key: Option<Arc<Mutex<String>>>,
    asked: Mutex<Vec<Value>>,
    open: AtomicUsize,
}

impl Model {
    /// A server with this script.
    pub(crate) fn start(script: impl Fn(&Value, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::listen(Box::new(script), None)
    }

    /// A server that says hello to who has the key, and 401 to others.
    pub(crate) fn keyed(key: &Arc<Mutex<String>>) -> Self {
        Self::listen(Box::new(|_, out| hello(out)), Some(Arc::clone(key)))
    }

    fn listen(script: Box<Script>, key: Option<Arc<Mutex<String>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { script, key, asked: Mutex::default(), open: AtomicUsize::new(0) });
        let serving = Arc::clone(&shared);
        spawn(move || {
            for stream in listener.incoming() {
                let serving = Arc::clone(&serving);
                spawn(move || {
                    serving.open.fetch_add(1, Ordering::Relaxed);
                    // A caller that hangs up is no fault of the test.
                    drop(serving.serve(&mut stream.unwrap()));
                    serving.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, shared }
    }

    /// A server that says hello.
    pub(crate) fn polite() -> Self {
        Self::start(|_, out| hello(out))
    }

    /// Its address as an endpoint of chat completions.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Its address.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far; of a request over 64 KiB only that there was one.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Requests that are under way.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn serve(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut line, mut head, mut length) = (String::new(), String::new(), 0);
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request = if length <= 65_536 { serde_json::from_slice(&body).unwrap_or_default() } else { Value::Null };
        drop(body);
        self.asked.lock().unwrap().push(request.clone());
        if self.key.as_ref().is_some_and(|key| !head.contains(key.lock().unwrap().as_str())) {
            return write!(stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        (self.script)(&request, stream)
    }
}

/// A token of a stream.
pub(crate) fn token(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}))
}

/// A whole answer.
pub(crate) fn hello(out: &mut TcpStream) -> io::Result<()> {
    out.write_all(format!("{EVENTS}{}{END}", token("hello")).as_bytes())
}

/// Asks for one tool with these arguments, and says hello when it has the result.
pub(crate) fn call(request: &Value, out: &mut TcpStream, tool: &str, arguments: &str) -> io::Result<()> {
    let messages = request["messages"].as_array();
    if messages.is_some_and(|messages| messages.iter().any(|message| message["role"] == "tool")) {
        return hello(out);
    }
    let function = json!({"name": tool, "arguments": arguments});
    let calls = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": function}]}}]});
    let end = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
    out.write_all(format!("{EVENTS}data: {calls}\n\ndata: {end}\n\ndata: [DONE]\n\n").as_bytes())
}

/// What all of a server's requests wait for.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Waits until it is open, a minute at most.
    pub(crate) fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(open, Duration::from_secs(60), |open| !*open).unwrap());
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}
