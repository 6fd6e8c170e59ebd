//! The conversation that an agent hands over with its question.

use agent_pod_core::event::Handoff;
use agent_pod_core::message::{Message, Role};
use serde_json::Value;

use crate::fields::Fields;

/// The most messages of a transcript, and the most characters of all of them.
pub(crate) const MESSAGES_MAX: usize = 64;
const TRANSCRIPT_CHARS_MAX: usize = 64_000;

/// The longest note, and the longest name of an agent with its namespace, in characters.
const NOTE_CHARS_MAX: usize = 32_000;
const NAME_CHARS_MAX: usize = 128;

/// The most agents that a conversation may be handed on to, and the most times.
const PEERS_MAX: usize = 256;
const LEFT_MAX: f64 = 32.0;

/// Reads `{from, note?, transcript?: [{role, content}], left?, peers?}`, if it is there.
pub(crate) fn handoff(fields: &mut Fields) -> Option<Handoff> {
    let value = fields.take("handoff")?;
    let mut inner = fields.nested("handoff", value)?;
    let handoff = Handoff {
        from: from(&mut inner),
        note: bounded(&mut inner, "note", NOTE_CHARS_MAX, false),
        transcript: transcript(&mut inner),
        left: left(&mut inner),
        peers: peers(&mut inner),
    };
    fields.absorb(inner);
    Some(handoff)
}

/// A name, and nothing else: it stands in what the agent is told.
fn from(fields: &mut Fields) -> String {
    let name = bounded(fields, "from", NAME_CHARS_MAX, true).unwrap_or_default();
    if !name.chars().all(|char| char.is_ascii_alphanumeric() || "-._/".contains(char)) {
        fields.refuse("from", "must be the name of an agent");
    }
    name
}

fn bounded(fields: &mut Fields, name: &str, chars_max: usize, required: bool) -> Option<String> {
    let text = if required {
        fields.required_text(name, "the agent that hands the conversation over")?
    } else {
        fields.text(name)?
    };
    if text.chars().count() > chars_max {
        fields.refuse(name, &format!("must have at most {chars_max} characters"));
    }
    Some(text)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to 32")]
fn left(fields: &mut Fields) -> u32 {
    fields.number("left", 0.0, LEFT_MAX).unwrap_or_default() as u32
}

fn transcript(fields: &mut Fields) -> Vec<Message> {
    let messages = fields.list("transcript", "must be an array of messages").unwrap_or_default();
    if messages.len() > MESSAGES_MAX {
        fields.refuse("transcript", &format!("must have at most {MESSAGES_MAX} messages"));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let Some(mut inner) = fields.nested(&format!("transcript[{index}]"), message) else { continue };
        let role = match inner.required_text("role", "`user` or `assistant`").as_deref() {
            Some("assistant") => Role::Assistant,
            Some("user") | None => Role::User,
            Some(_) => {
                inner.refuse("role", "must be `user` or `assistant`");
                Role::User
            }
        };
        let content = inner.required_text("content", "what was said").unwrap_or_default();
        fields.absorb(inner);
        read.push(Message::new(role, content));
    }
    if read.iter().map(|message| message.content.chars().count()).sum::<usize>() > TRANSCRIPT_CHARS_MAX {
        fields.refuse("transcript", &format!("must have at most {TRANSCRIPT_CHARS_MAX} characters in all"));
    }
    read
}

fn peers(fields: &mut Fields) -> Vec<String> {
    let peers = fields.list("peers", "must be an array of agents as `namespace/name`").unwrap_or_default();
    let names: Option<Vec<String>> = peers
        .into_iter()
        .map(|peer| if let Value::String(name) = peer { Some(name) } else { None })
        .map(|name| name.filter(|name| name.chars().count() <= NAME_CHARS_MAX))
        .collect();
    match names {
        Some(names) if names.len() <= PEERS_MAX => names,
        _ => {
            fields.refuse("peers", &format!("must hold at most {PEERS_MAX} agents, each as `namespace/name`"));
            Vec::new()
        }
    }
}
