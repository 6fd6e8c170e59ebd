//! Conversations that agents hand over to each other, as they are sent.

use serde::Serialize;
use utoipa::ToSchema;

/// The conversation that an agent hands over with its question: the agent's memory is neither read nor written.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Handoff {
    /// Name of the agent that hands it over.
    #[schema(max_length = 128, example = "triage")]
    pub from: String,
    /// What the next one should know of it.
    #[schema(max_length = 32_000)]
    pub note: Option<String>,
    /// What was said before the question, oldest first; at most 64,000 characters in all.
    #[schema(max_items = 64)]
    pub transcript: Option<Vec<HandedMessage>>,
    /// How often it may still be handed on; absent: not at all.
    #[schema(minimum = 0, maximum = 32)]
    pub left: Option<u32>,
    /// To whom it may be handed on, each as `namespace/name`.
    #[schema(max_items = 256)]
    pub peers: Option<Vec<String>>,
}

/// One message of a conversation that is handed over.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HandedMessage {
    /// `user` or `assistant`.
    #[schema(example = "user")]
    pub role: String,
    /// What was said.
    pub content: String,
}

/// To whom a conversation goes that was handed over to this run, if it did not answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HandedOn {
    /// The agent that shall have it, as `namespace/name`.
    #[schema(example = "shop/billing")]
    pub agent: String,
    /// What that one should know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub note: Option<String>,
}
