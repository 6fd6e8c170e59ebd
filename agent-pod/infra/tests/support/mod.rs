//! What several tests share: a model server of one route on a port of its own, and requests to send to it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};

use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_core::model::{ModelError, ModelEvent, ModelRequest, Parameters, ResponseFormat, ToolChoice};
use agent_pod_core::tool::ToolSpec;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A call that has come in.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A server that records its calls; it stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Answers each call with what `answer` makes of it.
    pub(crate) async fn start(answer: impl Fn(&Call) -> Response + Clone + Send + Sync + 'static) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&calls);
        let handler = move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let call = Call { path: parts.uri.to_string(), headers: parts.headers, body };
            recorded.lock().unwrap().push(call.clone());
            answer(&call)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
        Self { address, calls, _tasks: tasks }
    }

    /// Its endpoint, without a path.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// A server that hands each connection to `serve`, for answers that no HTTP library would give.
pub(crate) async fn raw_server<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            serve(listener.accept().await.unwrap().0).await;
        }
    });
    (address, tasks)
}

/// What every binary does first.
pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::ring::default_provider().install_default().expect("nobody else installs one"));
}

/// All events of a reply.
pub(crate) async fn events(stream: agent_pod_core::model::ModelStream) -> Vec<Result<ModelEvent, ModelError>> {
    stream.collect().await
}

/// What a [`ModelRequest`] borrows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) tool_choice: Option<ToolChoice>,
    pub(crate) response_format: Option<ResponseFormat>,
    pub(crate) parameters: Parameters,
}

impl Asked {
    pub(crate) fn request(&self) -> ModelRequest<'_> {
        ModelRequest {
            model: &self.model,
            messages: &self.messages,
            tools: &self.tools,
            tool_choice: self.tool_choice.as_ref(),
            response_format: self.response_format.as_ref(),
            parameters: &self.parameters,
        }
    }

    /// One short question.
    pub(crate) fn hi() -> Self {
        Self { model: "gpt-4o-mini".to_owned(), messages: vec![Message::new(Role::User, "Hi?")], ..Self::default() }
    }

    pub(crate) fn bare() -> Self {
        Self {
            model: "gpt-4o-mini".to_owned(),
            messages: vec![Message::new(Role::System, "You are terse."), Message::new(Role::User, "Where is order 7?")],
            ..Self::default()
        }
    }

    /// A long conversation with tools, and every parameter.
    pub(crate) fn full() -> Self {
        let mut asked = Self::bare();
        asked.messages.extend([
            asking("", vec![call("call_a", json!({"id": 7, "note": "ü \"quoted\""})), call("call_b", json!({}))]),
            Message::tool_result("call_a", r#"{"status": "shipped"}"#),
            Message::tool_result("call_b", "error: no id given"),
            asking("Let me look again.", vec![call("call_c", json!("{\"id\": 7"))]),
            Message::tool_result("call_c", "error: the arguments are not JSON"),
            Message::new(Role::Assistant, "It arrives on Friday."),
            Message::new(Role::User, "Thanks."),
            Message::new(Role::Assistant, ""),
        ]);
        asked.tools = tools();
        let extra = json!({"user": "u-1", "temperature": 0.9, "logit_bias": {"50256": -100}});
        asked.parameters = Parameters {
            temperature: Some(0.2),
            top_p: Some(0.95),
            max_tokens: Some(256),
            stop: vec!["END".to_owned()],
            seed: Some(-42),
            extra: object(&extra),
        };
        asked
    }

    /// Images, thoughts, a choice of tools and a form of the reply.
    pub(crate) fn rich() -> Self {
        let mut asked = Self::bare();
        let images = vec!["data:image/png;base64,iVBORw0KGgo=".to_owned()];
        asked.messages.extend([
            Message { images: images.clone(), ..Message::new(Role::User, "What is on it?") },
            Message { images, ..Message::new(Role::User, "") },
            Message {
                reasoning: Some("It is order 7.".to_owned()),
                ..asking("", vec![call("call_a", json!({"id": 7}))])
            },
            Message::tool_result("call_a", "shipped"),
            Message {
                reasoning: Some("Not given back.".to_owned()),
                ..Message::new(Role::Assistant, "It is shipped.")
            },
        ]);
        asked.tools = tools();
        asked.tool_choice = Some(ToolChoice::Named("get_order".to_owned()));
        asked.response_format = Some(Self::schema_format());
        asked.parameters.top_p = Some(1.0);
        asked
    }

    /// A question without tools, for an answer of a schema.
    pub(crate) fn schema() -> Self {
        Self { response_format: Some(Self::schema_format()), ..Self::bare() }
    }

    fn schema_format() -> ResponseFormat {
        let schema = json!({
            "type": "object",
            "properties": {"status": {"type": "string"}},
            "required": ["status"],
            "additionalProperties": false,
        });
        ResponseFormat::JsonSchema { name: "order".to_owned(), schema, strict: Some(true) }
    }
}

fn tools() -> Vec<ToolSpec> {
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]});
    vec![
        ToolSpec { name: "get_order".to_owned(), description: "Looks up an order".to_owned(), parameters: schema },
        ToolSpec { name: "ping".to_owned(), description: String::new(), parameters: Value::Null },
    ]
}

pub(crate) fn call(id: &str, arguments: Value) -> ToolCall {
    ToolCall { id: id.to_owned(), name: "get_order".to_owned(), arguments }
}

pub(crate) fn asking(content: &str, calls: Vec<ToolCall>) -> Message {
    Message { tool_calls: calls, ..Message::new(Role::Assistant, content) }
}

pub(crate) fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// A reply as golden files show it.
pub(crate) fn as_json(reply: &[Result<ModelEvent, ModelError>]) -> Value {
    let event = |event: &Result<ModelEvent, ModelError>| match event {
        Ok(ModelEvent::Content(text)) => json!({"content": text}),
        Ok(ModelEvent::Reasoning(text)) => json!({"reasoning": text}),
        Ok(ModelEvent::ToolCall(call)) => json!({"toolCall": call}),
        Ok(ModelEvent::Tokens(tokens)) => {
            json!({"tokens": {"input": tokens.input, "output": tokens.output, "cached": tokens.cached}})
        }
        Ok(ModelEvent::Finish(reason)) => json!({"finish": format!("{reason:?}")}),
        Err(error) => json!({"error": error.kind.as_str(), "message": error.message}),
    };
    reply.iter().map(event).collect()
}
