//! The question that a body or a WebSocket message holds, checked by hand so that every problem is named at once.

use agent_pod_core::error::FieldProblem;
use agent_pod_core::event::TurnRequest;
use serde_json::{Map, Value};

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

/// Reads `{query, sessionId? | session_id?, context?, images?, stream?}`. Null is absent, unknown fields are ignored.
///
/// # Errors
/// Every problem, in the order of the fields above.
pub(crate) fn parse_turn(body: Value) -> Result<ParsedTurn, Vec<FieldProblem>> {
    let Value::Object(object) = body else {
        return Err(vec![problem("$", "must be an object such as {\"query\": \"…\"}")]);
    };
    let mut fields = Fields { object, problems: Vec::new() };
    let query = fields.query();
    let session_id = fields.session_id();
    let context = fields.context();
    let images = fields.images();
    let stream = fields.stream();
    if fields.problems.is_empty() {
        Ok(ParsedTurn { turn: TurnRequest { query, session_id, context, images, chat: None }, stream })
    } else {
        Err(fields.problems)
    }
}

/// What is wrong with a session id, if anything.
pub(crate) fn session_id_problem(path: &str, session_id: &str) -> Option<FieldProblem> {
    let fits = (1..=SESSION_ID_CHARS_MAX).contains(&session_id.chars().count());
    (!fits).then(|| problem(path, &format!("must have 1 to {SESSION_ID_CHARS_MAX} characters")))
}

pub(crate) fn problem(path: &str, message: &str) -> FieldProblem {
    FieldProblem { path: path.to_owned(), message: message.to_owned() }
}

struct Fields {
    object: Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    fn refuse(&mut self, path: &str, message: &str) {
        self.problems.push(problem(path, message));
    }

    fn query(&mut self) -> String {
        match self.take("query") {
            Some(Value::String(query)) if !query.trim().is_empty() => return query,
            Some(Value::String(_)) => self.refuse("query", "must not be empty"),
            Some(_) => self.refuse("query", "must be a string"),
            None => self.refuse("query", "is required: the question as a string"),
        }
        String::new()
    }

    fn session_id(&mut self) -> Option<String> {
        let original = self.take("session_id").map(|value| ("session_id", value));
        let (path, value) = self.take("sessionId").map(|value| ("sessionId", value)).or(original)?;
        let Value::String(session_id) = value else {
            self.refuse(path, "must be a string");
            return None;
        };
        self.problems.extend(session_id_problem(path, &session_id));
        Some(session_id)
    }

    fn context(&mut self) -> Map<String, Value> {
        match self.take("context") {
            Some(Value::Object(context)) => return context,
            Some(_) => self.refuse("context", "must be an object of variables for the prompt"),
            None => {}
        }
        Map::new()
    }

    fn images(&mut self) -> Vec<String> {
        let images = match self.take("images") {
            Some(Value::Array(images)) => images,
            Some(_) => {
                self.refuse("images", "must be an array of URLs or data URLs");
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut urls = Vec::with_capacity(images.len());
        for (index, image) in images.into_iter().enumerate() {
            match image {
                Value::String(url) if !url.is_empty() => urls.push(url),
                Value::String(_) => self.refuse(&format!("images[{index}]"), "must not be empty"),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    self.refuse(&format!("images[{index}]"), "must be a string");
                }
            }
        }
        urls
    }

    fn stream(&mut self) -> bool {
        match self.take("stream") {
            Some(Value::Bool(stream)) => return stream,
            Some(_) => self.refuse("stream", "must be true or false"),
            None => {}
        }
        false
    }
}
