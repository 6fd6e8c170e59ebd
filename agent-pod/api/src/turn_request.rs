//! The question that a body or a WebSocket message holds, checked by hand so that every problem is named at once.

use agent_pod_core::error::FieldProblem;
use agent_pod_core::event::TurnRequest;
use serde_json::Value;

use crate::fields::{Fields, problem};
use crate::handoff::handoff;
use crate::images::{IMAGES_MAX, image_problem};

/// The longest session id, in characters: room for any UUID, URL-safe hash or `tenant:user:thread` key, and short
/// enough for a key in every store.
pub(crate) const SESSION_ID_CHARS_MAX: usize = 256;

/// What a body asks.
pub(crate) struct ParsedTurn {
    /// The question.
    pub(crate) turn: TurnRequest,
    /// Whether the answer shall be a stream of events.
    pub(crate) stream: bool,
}

/// Reads `{query, sessionId? | session_id?, context?, images?, stream?, handoff?}`. Null is absent, unknown fields are ignored.
///
/// # Errors
/// Every problem, in the order of the fields above.
pub(crate) fn parse_turn(body: Value) -> Result<ParsedTurn, Vec<FieldProblem>> {
    let Value::Object(object) = body else {
        return Err(vec![problem("$", "must be an object such as {\"query\": \"…\"}")]);
    };
    let mut fields = Fields::new(object, "");
    let query = query(&mut fields);
    let session_id = session_id(&mut fields);
    let context = fields.object("context", "must be an object of variables for the prompt").unwrap_or_default();
    let images = images(&mut fields);
    let stream = fields.switch("stream");
    let handoff = handoff(&mut fields).map(Box::new);
    if fields.problems.is_empty() {
        Ok(ParsedTurn { turn: TurnRequest { query, session_id, context, images, chat: None, handoff }, stream })
    } else {
        Err(fields.problems)
    }
}

/// What is wrong with a session id, if anything.
pub(crate) fn session_id_problem(path: &str, session_id: &str) -> Option<FieldProblem> {
    let fits = (1..=SESSION_ID_CHARS_MAX).contains(&session_id.chars().count());
    if !fits {
        return Some(problem(path, &format!("must have 1 to {SESSION_ID_CHARS_MAX} characters")));
    }
    // Logs, URLs and stores take them in different ways, and PostgreSQL no NUL at all.
    session_id
        .chars()
        .any(char::is_control)
        .then(|| problem(path, "must have no control characters, such as line ends"))
}

fn query(fields: &mut Fields) -> String {
    match fields.take("query") {
        Some(Value::String(query)) if !query.trim().is_empty() => return query,
        Some(Value::String(_)) => fields.refuse("query", "must not be empty"),
        Some(_) => fields.refuse("query", "must be a string"),
        None => fields.refuse("query", "is required: the question as a string"),
    }
    String::new()
}

fn session_id(fields: &mut Fields) -> Option<String> {
    let original = fields.take("session_id").map(|value| ("session_id", value));
    let (path, value) = fields.take("sessionId").map(|value| ("sessionId", value)).or(original)?;
    let Value::String(session_id) = value else {
        fields.refuse(path, "must be a string");
        return None;
    };
    fields.add(session_id_problem(path, &session_id));
    Some(session_id)
}

fn images(fields: &mut Fields) -> Vec<String> {
    let images = fields.list("images", "must be an array of URLs or data URLs").unwrap_or_default();
    if images.len() > IMAGES_MAX {
        fields.refuse("images", &format!("must have at most {IMAGES_MAX} items"));
        return Vec::new();
    }
    let mut urls = Vec::with_capacity(images.len());
    for (index, image) in images.into_iter().enumerate() {
        let path = format!("images[{index}]");
        match image {
            Value::String(url) => {
                fields.add(image_problem(&path, &url));
                urls.push(url);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                fields.refuse(&path, "must be a string");
            }
        }
    }
    urls
}
