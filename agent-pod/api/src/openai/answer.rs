//! The answer of a run as a chat completion. Pure; its pieces are those of the stream, too.

use agent_pod_core::event::RunAnswer;
use agent_pod_core::message::ToolCall;
use agent_pod_core::usage::Usage;
use serde::Serialize;
use utoipa::ToSchema;

use crate::openapi::chat::ToolKind;

/// What every answer and every chunk of one run says.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Made of the run's id.
    pub(crate) id: String,
    /// When the run was let in, in seconds since 1970.
    pub(crate) created: u64,
    /// Name of the agent.
    pub(crate) model: String,
}

impl Head {
    /// The head of everything that answers the run.
    pub(crate) fn new(run_id: &str, created: u64, model: &str) -> Self {
        Self { id: format!("chatcmpl-{run_id}"), created, model: model.to_owned() }
    }
}

/// A chat completion.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatCompletion {
    /// `chatcmpl-` and the id of the run.
    pub(crate) id: String,
    /// `chat.completion`.
    pub(crate) object: ChatCompletionObject,
    /// When the run began, in seconds since 1970.
    pub(crate) created: u64,
    /// Name of the agent.
    pub(crate) model: String,
    /// Exactly one.
    #[schema(min_items = 1, max_items = 1)]
    pub(crate) choices: Vec<ChatChoice>,
    /// Tokens of all the calls that the agent made.
    pub(crate) usage: ChatUsage,
}

/// The kind of a chat completion.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) enum ChatCompletionObject {
    /// The only one.
    #[serde(rename = "chat.completion")]
    Completion,
}

/// The answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    /// 0.
    pub(crate) index: u32,
    /// What the agent says.
    pub(crate) message: ChatAnswer,
    /// Why it ended.
    pub(crate) finish_reason: ChatFinish,
    /// Always null.
    pub(crate) logprobs: Option<bool>,
}

/// What the agent says.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatAnswer {
    /// `assistant`.
    pub(crate) role: AssistantRole,
    /// The text; null where there are only tool calls.
    pub(crate) content: Option<String>,
    /// Always null: a blocked answer is the content.
    pub(crate) refusal: Option<String>,
    /// The calls of the caller's own tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) tool_calls: Vec<ChatToolCall>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AssistantRole {
    /// The agent.
    Assistant,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChatFinish {
    /// It was whole.
    Stop,
    /// A token limit cut it off.
    Length,
    /// It asks for the caller's own tools.
    ToolCalls,
    /// A guardrail blocked it.
    ContentFilter,
}

/// A call of one of the caller's own tools.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatToolCall {
    /// Its place among the calls; in chunks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) index: Option<usize>,
    /// Id of the call.
    pub(crate) id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub(crate) kind: ToolKind,
    /// What to call.
    pub(crate) function: ChatFunctionCall,
}

/// What to call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatFunctionCall {
    /// Name of the tool.
    pub(crate) name: String,
    /// Its arguments, as the model wrote them: JSON, if all went well.
    pub(crate) arguments: String,
}

/// Tokens of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatUsage {
    /// Tokens of all prompts.
    pub(crate) prompt_tokens: u64,
    /// Tokens of all replies.
    pub(crate) completion_tokens: u64,
    /// Both.
    pub(crate) total_tokens: u64,
    /// More on the prompts.
    pub(crate) prompt_tokens_details: ChatPromptTokens,
}

/// More on the prompts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatPromptTokens {
    /// Tokens that the model server had cached.
    pub(crate) cached_tokens: u64,
}

/// The answer as a whole.
pub(crate) fn completion(head: Head, answer: RunAnswer) -> ChatCompletion {
    let finish_reason = finish(&answer);
    let usage = usage(&answer.usage);
    let tool_calls: Vec<_> = answer.client_calls.iter().map(|call| tool_call(call, None)).collect();
    let content = (!answer.answer.is_empty() || tool_calls.is_empty()).then_some(answer.answer);
    let message = ChatAnswer { role: AssistantRole::Assistant, content, refusal: None, tool_calls };
    ChatCompletion {
        id: head.id,
        object: ChatCompletionObject::Completion,
        created: head.created,
        model: head.model,
        choices: vec![ChatChoice { index: 0, message, finish_reason, logprobs: None }],
        usage,
    }
}

/// Why the run ended, in the words of this API.
pub(super) fn finish(answer: &RunAnswer) -> ChatFinish {
    if answer.blocked {
        ChatFinish::ContentFilter
    } else if !answer.client_calls.is_empty() {
        ChatFinish::ToolCalls
    } else if answer.truncated {
        ChatFinish::Length
    } else {
        ChatFinish::Stop
    }
}

/// A call in the words of this API, with its place where it is part of a stream.
pub(super) fn tool_call(call: &ToolCall, index: Option<usize>) -> ChatToolCall {
    // What the model wrote may be no JSON; whoever carries it out shall see it as it is.
    let written = call.arguments.as_str().map(str::to_owned);
    let arguments = written.unwrap_or_else(|| call.arguments.to_string());
    let function = ChatFunctionCall { name: call.name.clone(), arguments };
    ChatToolCall { index, id: call.id.clone(), kind: ToolKind::Function, function }
}

/// What the run has used.
pub(super) fn usage(usage: &Usage) -> ChatUsage {
    ChatUsage {
        prompt_tokens: usage.tokens_in,
        completion_tokens: usage.tokens_out,
        total_tokens: usage.tokens_in.saturating_add(usage.tokens_out),
        prompt_tokens_details: ChatPromptTokens { cached_tokens: usage.tokens_cached },
    }
}
