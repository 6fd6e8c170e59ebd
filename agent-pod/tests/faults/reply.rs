//! What a scripted server does with one request, act by act.

use std::time::Duration;

use serde_json::{Value, json};

/// What an answer of a scripted server counts.
pub(crate) const TOKENS_IN: u64 = 100;
pub(crate) const TOKENS_OUT: u64 = 10;

/// One thing that a server does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Send(Vec<u8>),
    /// Sends this over and over, as long as the peer reads.
    Flood(Vec<u8>),
    /// Waits until the test lets it go on.
    Gate,
    Pause(Duration),
    /// Says nothing more, and waits until the peer hangs up.
    Silence,
    /// Closes the connection in good order.
    Close,
    /// Closes it with a reset.
    Reset,
}

/// Everything that a server does with a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply(pub(crate) Vec<Act>);

impl Reply {
    /// Nothing yet, not even a status.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Nothing until the test says so; what follows is added with [`Reply::and`].
    pub(crate) fn gate() -> Self {
        Self::nothing().then(Act::Gate)
    }

    /// Nothing at all, for as long as the peer waits.
    pub(crate) fn silence() -> Self {
        Self::nothing().then(Act::Silence)
    }

    /// Both, one after the other.
    pub(crate) fn and(self, next: Self) -> Self {
        Self([self.0, next.0].concat())
    }

    /// An answer of this status with a body of this type.
    pub(crate) fn status(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        Self::default().send(format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}"))
    }

    /// A refusal as the chat completions protocol writes it.
    pub(crate) fn refusal(status: u16, headers: &[(&str, &str)]) -> Self {
        let body = json!({"error": {"message": "as scripted", "type": "scripted"}}).to_string();
        let json = [("content-type", "application/json")];
        Self::status(status, &json.iter().chain(headers).copied().collect::<Vec<_>>(), &body)
    }

    /// A whole answer as one JSON document.
    pub(crate) fn document(body: &Value) -> Self {
        Self::status(200, &[("content-type", "application/json")], &body.to_string())
    }

    /// A whole answer as a stream, with its tokens counted.
    pub(crate) fn answer(text: &str) -> Self {
        Self::stream().text(text).end()
    }

    /// The head of a stream.
    pub(crate) fn stream() -> Self {
        Self::default()
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned())
    }

    /// A piece of text.
    pub(crate) fn text(self, text: &str) -> Self {
        self.data(&json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string())
    }

    /// An event with this data.
    pub(crate) fn data(self, data: &str) -> Self {
        self.chunk(&format!("data: {data}\n\n"))
    }

    /// A chunk of the body.
    pub(crate) fn chunk(self, text: &str) -> Self {
        let framed = format!("{:x}\r\n{text}\r\n", text.len());
        self.send(framed)
    }

    /// Pieces of 16 KiB of text without end.
    pub(crate) fn flood(self) -> Self {
        let mut one = Self::nothing().text(&"tide ".repeat(3_277)).0;
        let Some(Act::Send(bytes)) = one.pop() else { panic!("text is sent") };
        self.then(Act::Flood(bytes))
    }

    /// The end of a stream that went well.
    pub(crate) fn end(self) -> Self {
        let usage = json!({"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT});
        self.data(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string())
            .data(&json!({"choices": [], "usage": usage}).to_string())
            .data("[DONE]")
            .chunk_end()
    }

    /// The end of the body.
    pub(crate) fn chunk_end(self) -> Self {
        self.send("0\r\n\r\n".to_owned())
    }

    pub(crate) fn then(mut self, act: Act) -> Self {
        self.0.push(act);
        self
    }

    fn send(self, text: String) -> Self {
        self.then(Act::Send(text.into_bytes()))
    }
}
