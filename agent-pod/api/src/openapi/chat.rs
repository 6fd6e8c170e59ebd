//! The requests of the chat completions API as the OpenAPI document shows them: what is read of them, no more.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::schemas::{Domain, ErrorDetails};

/// A question to an agent, with the conversation before it. Null is the same as absent, unknown fields are ignored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"model": "support", "messages": [{"role": "user", "content": "Where is order 7?"}]}))]
pub struct ChatCompletionRequest {
    /// Name of the agent.
    pub model: String,
    /// The conversation; at least one message is the user's.
    #[schema(min_items = 1)]
    pub messages: Vec<ChatMessage>,
    /// Whether the answer shall be a stream of chunks.
    pub stream: Option<bool>,
    /// How it shall be.
    pub stream_options: Option<ChatStreamOptions>,
    /// Tools that the caller carries out.
    #[schema(max_items = 128)]
    pub tools: Option<Vec<ChatTool>>,
    /// Which of them the model must, may or must not ask for: `auto`, `none`, `required`, or one by name.
    pub tool_choice: Option<ChatToolChoice>,
    /// The form of the answer.
    pub response_format: Option<ChatResponseFormat>,
    /// Randomness.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// The most tokens of the answer; the lower one of it and the agent's holds.
    #[schema(minimum = 1)]
    pub max_completion_tokens: Option<u32>,
    /// The same under its older name; `max_completion_tokens` wins.
    #[schema(minimum = 1)]
    pub max_tokens: Option<u32>,
    /// Texts that end the answer, at most four.
    pub stop: Option<ChatStop>,
    /// Seed of the sampling.
    pub seed: Option<i64>,
    /// Passed on to the model server.
    #[schema(minimum = -2, maximum = 2)]
    pub frequency_penalty: Option<f64>,
    /// Passed on to the model server.
    #[schema(minimum = -2, maximum = 2)]
    pub presence_penalty: Option<f64>,
    /// 1: an agent gives one answer.
    #[schema(minimum = 1, maximum = 1)]
    pub n: Option<u32>,
}

/// One message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum ChatMessage {
    /// Instructions, which follow the agent's own.
    System {
        /// What they are; texts only.
        content: ChatContent,
    },
    /// The same under its newer name.
    Developer {
        /// What they are; texts only.
        content: ChatContent,
    },
    /// What the caller says.
    User {
        /// Texts and images.
        content: ChatContent,
    },
    /// What the agent has said.
    Assistant {
        /// The text; absent only where there are `tool_calls` or a `refusal`.
        content: Option<ChatContent>,
        /// The calls that it asked for.
        tool_calls: Option<Vec<ChatPastCall>>,
        /// Its text where there is no content.
        refusal: Option<String>,
    },
    /// The result of a call.
    Tool {
        /// Which call.
        tool_call_id: String,
        /// The result; texts only.
        content: ChatContent,
    },
}

/// What a message says.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ChatContent {
    /// A text.
    Text(String),
    /// Parts.
    Parts(Vec<ChatPart>),
}

/// A part of a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatPart {
    /// A text.
    Text {
        /// The text.
        text: String,
    },
    /// An image; in messages of the user only.
    ImageUrl {
        /// Where it is.
        image_url: ChatImage,
    },
}

/// Where an image is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatImage {
    /// An http or https URL, or a data URL with base64.
    #[schema(pattern = "^(https?://[A-Za-z0-9]|data:image/[a-z+]+;base64,.)")]
    pub url: String,
}

/// A call that was asked for before.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatPastCall {
    /// Id of the call.
    pub id: String,
    /// What was called.
    pub function: ChatPastFunction,
}

/// What was called.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatPastFunction {
    /// Name of the tool.
    pub name: String,
    /// Its arguments: JSON as text.
    pub arguments: String,
}

/// A tool that the caller carries out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatTool {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// What the model sees.
    pub function: ChatFunction,
}

/// The kind of a tool.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// A function.
    Function,
}

/// A tool as the model sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatFunction {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub parameters: Option<Map<String, Value>>,
}

/// Which tools the model must, may or must not ask for.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ChatToolChoice {
    /// In general.
    Mode(ChatToolMode),
    /// One of `tools`.
    Named {
        /// Which.
        function: ChatNamed,
    },
}

/// Which tools in general.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatToolMode {
    /// It may ask for any.
    Auto,
    /// It must ask for none.
    None,
    /// It must ask for at least one.
    Required,
}

/// A tool by name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatNamed {
    /// The name.
    pub name: String,
}

/// The form of an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatResponseFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema {
        /// The schema.
        json_schema: ChatJsonSchema,
    },
}

/// A schema with its name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatJsonSchema {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    pub name: String,
    /// The schema.
    pub schema: Map<String, Value>,
    /// Whether the model server shall enforce it word for word.
    pub strict: Option<bool>,
}

/// Texts that end an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ChatStop {
    /// One.
    One(ChatStopText),
    /// At most four.
    Several(ChatStops),
}

/// A text that ends an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(min_length = 1)]
pub struct ChatStopText(pub String);

/// Several of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(max_items = 4)]
pub struct ChatStops(pub Vec<ChatStopText>);

/// How a stream shall be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatStreamOptions {
    /// Whether a last chunk shall tell the tokens used.
    pub include_usage: Option<bool>,
}

/// A server-sent event of an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatEventFrame {
    /// A `ChatCompletionChunk` as JSON; `[DONE]` after the last one; a `ChatErrorAnswer` where the answer fails half way.
    pub data: String,
}

/// A failed call of this API.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatErrorAnswer {
    /// What failed.
    pub error: ChatErrorBody,
}

/// What failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatErrorBody {
    /// The stable code.
    #[schema(example = "agent_not_found")]
    pub code: String,
    /// What went wrong and what to do.
    pub message: String,
    /// The kind of failure in the words of this API.
    #[serde(rename = "type")]
    #[schema(example = "not_found_error")]
    pub kind: String,
    /// The field at fault; null where there is none.
    pub param: Option<String>,
    /// Who has to act.
    pub domain: Domain,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The run, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub run_id: Option<String>,
    /// More on the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub details: Option<ErrorDetails>,
}
