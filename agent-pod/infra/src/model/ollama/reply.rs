//! A reply put together from its documents.

use std::collections::{HashSet, VecDeque};

use agent_pod_core::message::ToolCall;
use agent_pod_core::model::{FinishReason, ModelError, ModelEvent};
use agent_pod_core::usage::Tokens;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::call_ids::{ID_BYTES_MAX, NAME_BYTES_MAX, call_id};
use crate::model::error::{cut_off, malformed, of_object};
use crate::model::json;

/// The most tool calls of one reply.
const CALLS_MAX: usize = 128;

/// A reply that is coming in.
pub(super) struct Reply {
    ids: HashSet<String>,
    next_call: u64,
    /// Values that the arguments of its calls may still have.
    values_left: usize,
    heard: bool,
    said: bool,
    done: bool,
    finish: Option<FinishReason>,
}

/// One document; what is missing or null is as if it were empty.
#[derive(Deserialize)]
struct Frame {
    error: Option<Value>,
    message: Option<Said>,
    done: Option<bool>,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<Value>,
}

impl Reply {
    pub(super) fn new(first_call: u64) -> Self {
        Self {
            ids: HashSet::new(),
            next_call: first_call,
            values_left: json::VALUES_MAX,
            heard: false,
            said: false,
            done: false,
            finish: None,
        }
    }

    /// Whether the server has said that nothing follows.
    pub(super) fn done(&self) -> bool {
        self.done
    }

    /// Takes one document.
    pub(super) fn frame(&mut self, line: &[u8], events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        let frame = json::document(line)
            .map_err(|error| malformed(if error.is_data() { "reply too large" } else { "reply is not JSON" }))?;
        let frame: Frame = serde_json::from_value(frame).map_err(|_| malformed("reply is not a chat"))?;
        if let Some(error) = frame.error.filter(|error| !error.is_null()) {
            let mut object = Map::new();
            object.insert("error".to_owned(), error);
            return Err(of_object(&Value::Object(object)));
        }
        self.heard = true;
        if let Some(said) = frame.message {
            self.say(said, events)?;
        }
        if frame.done == Some(true) {
            self.done = true;
            self.finish = (frame.done_reason.as_deref() == Some("length")).then_some(FinishReason::Length);
            if frame.prompt_eval_count.is_some() || frame.eval_count.is_some() {
                let (input, output) = (frame.prompt_eval_count.unwrap_or(0), frame.eval_count.unwrap_or(0));
                events.push_back(ModelEvent::Tokens(Tokens { input, output, cached: 0 }));
            }
        }
        Ok(())
    }

    /// Nothing follows.
    pub(super) fn end(&self, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        if !self.done {
            return Err(if self.heard { cut_off() } else { malformed("empty reply") });
        }
        if self.said {
            events.extend(self.finish.map(ModelEvent::Finish));
            return Ok(());
        }
        Err(malformed(match self.finish {
            Some(FinishReason::Length) => "empty reply: the token limit was reached before any text",
            Some(FinishReason::Stop | FinishReason::ContentFilter) | None => "empty reply",
        }))
    }

    fn say(&mut self, said: Said, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        let Said { content, thinking, tool_calls } = said;
        events.extend(thinking.filter(|text| !text.is_empty()).map(ModelEvent::Reasoning));
        if let Some(text) = content.filter(|text| !text.is_empty()) {
            self.said = true;
            events.push_back(ModelEvent::Content(text));
        }
        for call in tool_calls.into_iter().flatten() {
            let call = self.whole(call)?;
            self.said = true;
            events.push_back(ModelEvent::ToolCall(call));
        }
        Ok(())
    }

    /// Calls come whole; older servers give them no id.
    fn whole(&mut self, call: Call) -> Result<ToolCall, ModelError> {
        if self.ids.len() == CALLS_MAX {
            return Err(malformed("too many tool calls"));
        }
        let function = call.function.unwrap_or(Function { name: None, arguments: None });
        let name =
            function.name.filter(|name| !name.is_empty()).ok_or_else(|| malformed("tool call without a name"))?;
        if name.len() > NAME_BYTES_MAX {
            return Err(malformed("tool call with a name that is too long"));
        }
        let known = call.id.filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX && !self.ids.contains(id));
        let id = known.unwrap_or_else(|| self.fresh_id());
        self.ids.insert(id.clone());
        let arguments = match function.arguments {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(Value::String(text)) => {
                json::parse(text.as_bytes(), &mut self.values_left).unwrap_or(Value::String(text))
            }
            Some(arguments) if json::take(&arguments, &mut self.values_left) => arguments,
            Some(_) => return Err(malformed("tool calls too large")),
        };
        Ok(ToolCall { id, name, arguments })
    }

    fn fresh_id(&mut self) -> String {
        loop {
            let id = call_id(self.next_call);
            self.next_call = self.next_call.wrapping_add(1);
            if !self.ids.contains(&id) {
                return id;
            }
        }
    }
}
