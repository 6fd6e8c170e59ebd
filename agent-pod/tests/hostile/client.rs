//! A caller that says what it likes, byte by byte.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a caller waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0: nothing came, the connection was cut.
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The code of an error, wherever the door puts it.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether it is an answer of the API: what was asked for, or a refusal with a code; never a cut, and no fault of the pod.
    pub(crate) fn is_documented(&self) -> bool {
        match self.status {
            200 => true,
            408 | 431 => true,
            400..=499 | 502..=504 => !self.code().is_empty(),
            _ => false,
        }
    }
}

/// A connection with time-outs.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and reads until the other side closes. An answer may come before all has been sent.
pub(crate) fn exchange(to: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(to);
    drop(stream.write_all(request));
    Answer::of(&read_all(&mut stream))
}

/// Everything until the end, or until nothing comes any more.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let (mut received, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return received,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return received,
        }
    }
}

/// A request with a body of JSON, or what is to be taken for it.
pub(crate) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A request without a body.
pub(crate) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

/// What a text begins with, for messages.
pub(crate) fn beginning(text: &str) -> String {
    text.chars().take(60).collect()
}
