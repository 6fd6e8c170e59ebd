//! Tool calls put together from their pieces.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{ModelError, ToolCall, call_id, malformed};
use crate::http::Growing;
use crate::model::call_ids::{ID_BYTES_MAX, NAME_BYTES_MAX};
use crate::model::error::no_memory;
use crate::model::json::{self, VALUES_MAX};

/// The most tool calls of one reply.
pub(crate) const CALLS_MAX: usize = 128;

/// The most bytes of all their arguments.
pub(crate) const ARGUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The tool calls of a reply, in the order of their first pieces.
pub(super) struct Calls {
    pending: Vec<PartialCall>,
    ids: HashSet<String>,
    next_number: u64,
    calls: usize,
    argument_bytes: usize,
    /// Of calls that are not whole yet.
    held: Growing,
    /// Values that their arguments may still have.
    values_left: usize,
}

#[derive(Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    text: String,
    value: Option<Value>,
}

impl Calls {
    pub(super) fn new(first_number: u64) -> Self {
        Self {
            pending: Vec::new(),
            ids: HashSet::new(),
            next_number: first_number,
            calls: 0,
            argument_bytes: 0,
            held: Growing::new(),
            values_left: VALUES_MAX,
        }
    }

    /// Takes one piece: `{"index"?, "id"?, "function": {"name"?, "arguments"?}}`.
    pub(super) fn add(&mut self, piece: &Value) -> Result<(), ModelError> {
        let text = |path: &str| piece.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (id, name) = (text("/id"), text("/function/name"));
        let index = piece.get("index").and_then(Value::as_u64);
        let at = match self.position(index, id, name) {
            Some(at) => at,
            None => self.begin(index)?,
        };
        let Some(call) = self.pending.get_mut(at) else { return Ok(()) };
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        // Names come whole; some servers repeat them.
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
        }
        match piece.pointer("/function/arguments") {
            Some(Value::String(text)) => {
                self.argument_bytes += text.len();
                self.held.try_to(self.argument_bytes).map_err(no_memory)?;
                call.text.push_str(text);
            }
            // Some servers send the object itself.
            Some(object @ Value::Object(_)) => {
                if !json::take(object, &mut self.values_left) {
                    return Err(malformed("tool calls too large"));
                }
                call.value = Some(object.clone());
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {}
        }
        if self.argument_bytes > ARGUMENT_BYTES_MAX { Err(malformed("tool calls too large")) } else { Ok(()) }
    }

    /// The calls that have come since the last time.
    pub(super) fn take(&mut self) -> Result<Vec<ToolCall>, ModelError> {
        let calls = std::mem::take(&mut self.pending).into_iter().map(|call| self.whole(call)).collect();
        self.held.taken();
        calls
    }

    /// The call that a piece goes on with; `None`: it begins a new one.
    fn position(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let at = match index {
            Some(_) => self.pending.iter().rposition(|call| call.index == index)?,
            None => self.pending.len().checked_sub(1)?,
        };
        let call = self.pending.get(at)?;
        let same_id = id.is_empty() || call.id.is_empty() || id == call.id;
        // By the protocol the index decides. Some servers give every call the same, or none: then a name with an id of its
        // own begins a call, and without an index any name does, unless the id says otherwise.
        let begins = !name.is_empty() && if index.is_some() { !same_id } else { id.is_empty() || id != call.id };
        (!begins).then_some(at)
    }

    fn begin(&mut self, index: Option<u64>) -> Result<usize, ModelError> {
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(malformed("too many tool calls"));
        }
        self.pending.push(PartialCall { index, ..PartialCall::default() });
        Ok(self.pending.len() - 1)
    }

    fn whole(&mut self, call: PartialCall) -> Result<ToolCall, ModelError> {
        let PartialCall { index: _, id, mut name, text, value } = call;
        let mut arguments = value.unwrap_or_else(|| arguments(text, &mut self.values_left));
        if name.is_empty() {
            (name, arguments) = named_within(&arguments).ok_or_else(|| malformed("tool call without a name"))?;
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(malformed("tool call with a name that is too long"));
        }
        let usable = !id.is_empty() && id.len() <= ID_BYTES_MAX && !self.ids.contains(&id);
        let id = if usable { id } else { self.fresh_id() };
        self.ids.insert(id.clone());
        Ok(ToolCall { id, name, arguments })
    }

    fn fresh_id(&mut self) -> String {
        loop {
            let id = call_id(self.next_number);
            self.next_number = self.next_number.wrapping_add(1);
            if !self.ids.contains(&id) {
                return id;
            }
        }
    }
}

/// Older TGI streams a call's name within its arguments: `{"function": {"_name": …, …}}`.
fn named_within(arguments: &Value) -> Option<(String, Value)> {
    let mut function = arguments.get("function")?.as_object()?.clone();
    let name = function.shift_remove("_name")?.as_str()?.to_owned();
    Some((name, Value::Object(function)))
}

/// No text means no arguments; text that is not JSON stays text, for the model to be told of.
fn arguments(text: String, values_left: &mut usize) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    json::parse(text.as_bytes(), values_left).unwrap_or(Value::String(text))
}
