//! WebSockets, by hand where a library would be too polite.

use std::io::Write as _;
use std::net::TcpStream;

use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::client::connect;
use crate::pod::Pod;

/// An open socket to an agent.
pub(crate) fn handshake(pod: &Pod, agent: &str) -> WebSocket<TcpStream> {
    let request = format!("ws://{}/v1/ws/agent/{agent}", pod.api).into_client_request().unwrap();
    client(request, connect(pod.api)).unwrap().0
}

/// Sends a text, and gives what comes back up to the end of a run, or of the socket.
pub(crate) fn says(socket: &mut WebSocket<TcpStream>, text: &str) -> String {
    let mut told = String::new();
    if let Err(error) = socket.send(Message::text(text)) {
        told.push_str(&format!("{{\"error\":\"{error}\"}}"));
    }
    loop {
        match socket.read() {
            Ok(Message::Text(event)) => {
                told.push_str(&event);
                if event.contains("\"type\":\"done\"") || event.contains("\"type\":\"error\"") {
                    return told;
                }
            }
            Ok(Message::Close(frame)) => {
                told.push_str(&format!("\"error\" close {frame:?}"));
                return told;
            }
            Ok(_) => {}
            Err(error) => {
                told.push_str(&format!("\"error\" {error}"));
                return told;
            }
        }
    }
}

/// One frame, masked with zeros, whose length may be more than what follows.
pub(crate) fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u16::try_from(length), length) {
        (_, 0..=125) => bytes.push(0x80 | u8::try_from(length).unwrap()),
        (Ok(length), _) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        (Err(_), _) => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Sends bytes on the socket as they are; a peer that has closed is fine.
pub(crate) fn raw(socket: &mut WebSocket<TcpStream>, bytes: &[u8]) {
    drop(socket.get_mut().write_all(bytes));
}
