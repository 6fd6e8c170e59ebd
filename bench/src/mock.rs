//! A scripted model server: the model's name says how it answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long a gated stream stays open for its reader.
const GATE_WAIT: Duration = Duration::from_secs(120);

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// An answer of 0.4 KB.
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"model":"json","choices":[{"index":0,"message":{"role":"assistant","content":"The order left the warehouse on Tuesday, and the carrier expects to hand it over on Friday between nine and noon; somebody has to sign for it at the door."},"finish_reason":"stop"}],"usage":{"prompt_tokens":61,"completion_tokens":34,"total_tokens":95}}"#;

const TOOL_CALL: &str = r#"{"id":"chatcmpl-2","object":"chat.completion","created":1767225600,"model":"tool","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_order","arguments":"{\"id\":7}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":61,"completion_tokens":14,"total_tokens":75}}"#;

const CHUNK: &str = "data: {\"id\":\"chatcmpl-3\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"stream\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a few words \"},\"finish_reason\":null}]}\n\n";

const LAST_CHUNK: &str = "data: {\"id\":\"chatcmpl-3\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"stream\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":61,\"completion_tokens\":63,\"total_tokens\":124}}\n\ndata: [DONE]\n\n";

/// When answers come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Before an answer begins.
    delay: Duration,
    /// Between the chunks of a stream, so that each of them travels alone.
    gap: Duration,
}

impl Pace {
    pub(crate) fn of_millis(delay: u64, gap: u64) -> Self {
        Self { delay: Duration::from_millis(delay), gap: Duration::from_millis(gap) }
    }
}

/// How a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    /// With one JSON document.
    Json,
    /// With a tool call, and when that is answered, with one JSON document.
    Tool,
    /// With a stream of so many chunks and one that ends it.
    Stream(u32),
    /// With one chunk, and then nothing until the reader goes away.
    Gate,
}

#[derive(Deserialize)]
struct Asked {
    model: String,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
}

/// Serves until it is killed.
pub(crate) async fn serve(listen: SocketAddr, pace: Pace) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("failed to listen on {listen}"))?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        stream.set_nodelay(true)?;
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(move |request| answer(request, pace)));
        connections.spawn(async move { drop(connection.await) });
    }
}

async fn answer(
    request: Request<Incoming>,
    pace: Pace,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked: Option<Asked> = serde_json::from_slice(&body).ok();
    let Some((script, asked)) = asked.and_then(|asked| Some((Script::of(&asked.model)?, asked))) else {
        // What the start is probed with, among others.
        return Ok(response(JSON, Full::from(ANSWER).boxed_unsync()));
    };
    if !pace.delay.is_zero() {
        tokio::time::sleep(pace.delay).await;
    }
    Ok(match script {
        Script::Json => response(JSON, Full::from(ANSWER).boxed_unsync()),
        Script::Tool if asked.messages.iter().any(|message| message.role == "tool") => {
            response(JSON, Full::from(ANSWER).boxed_unsync())
        }
        Script::Tool => response(JSON, Full::from(TOOL_CALL).boxed_unsync()),
        Script::Stream(chunks) => events(paced(chunks, pace.gap)),
        Script::Gate => events(gated()),
    })
}

impl Script {
    fn of(model: &str) -> Option<Self> {
        Some(match model {
            "json" => Self::Json,
            "tool" => Self::Tool,
            "gate" => Self::Gate,
            other => Self::Stream(other.strip_prefix("stream-")?.parse().ok()?),
        })
    }
}

fn response(
    content_type: &'static str,
    body: UnsyncBoxBody<Bytes, Infallible>,
) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn events(chunks: BoxStream<'static, &'static str>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let frames = chunks.map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))));
    response(EVENTS, StreamBody::new(frames).boxed_unsync())
}

fn paced(chunks: u32, gap: Duration) -> BoxStream<'static, &'static str> {
    stream::iter(0..=chunks)
        .then(move |index| async move {
            if index > 0 && !gap.is_zero() {
                tokio::time::sleep(gap).await;
            }
            if index < chunks { CHUNK } else { LAST_CHUNK }
        })
        .boxed()
}

fn gated() -> BoxStream<'static, &'static str> {
    let rest = stream::once(async {
        tokio::time::sleep(GATE_WAIT).await;
        LAST_CHUNK
    });
    stream::iter([CHUNK]).chain(rest).boxed()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("json", Some(Script::Json))]
    #[case("tool", Some(Script::Tool))]
    #[case("gate", Some(Script::Gate))]
    #[case("stream-21", Some(Script::Stream(21)))]
    #[case("stream-", None)]
    #[case("gpt", None)]
    fn the_models_name_is_the_script(#[case] model: &str, #[case] expected: Option<Script>) {
        assert_eq!(Script::of(model), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_has_its_chunks_and_an_end() {
        let chunks: Vec<_> = paced(21, Duration::from_millis(2)).collect().await;
        assert_eq!((chunks.len(), chunks[0], chunks[20], chunks[21]), (22, CHUNK, CHUNK, LAST_CHUNK));
    }

    #[rstest]
    #[case(ANSWER)]
    #[case(TOOL_CALL)]
    fn answers_are_json_of_about_the_size_that_goals_are_set_for(#[case] answer: &str) {
        serde_json::from_str::<serde_json::Value>(answer).unwrap();
        assert!((300..500).contains(&answer.len()), "{}", answer.len());
    }
}
