//! A reply put together from its frames.

use std::collections::VecDeque;

use agent_pod_core::message::ToolCall;
use agent_pod_core::model::{FinishReason, ModelError, ModelEvent};
use agent_pod_core::usage::Tokens;
use serde_json::Value;

use crate::model::call_ids::call_id;
use crate::model::error::{cut_off, malformed, of_object};
use crate::model::json;

mod calls;

use calls::Calls;

/// A reply that is coming in.
pub(super) struct Reply {
    calls: Calls,
    heard: bool,
    said: bool,
    finish_reason: Option<String>,
    done: bool,
}

impl Reply {
    pub(super) fn new(first_call: u64) -> Self {
        Self { calls: Calls::new(first_call), heard: false, said: false, finish_reason: None, done: false }
    }

    /// Takes the data of one frame: a chunk, a whole completion, or `[DONE]`.
    pub(super) fn frame(&mut self, data: &str, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let frame = json::document(data.as_bytes())
            .map_err(|error| malformed(if error.is_data() { "reply too large" } else { "reply is not JSON" }))?;
        if !frame.is_object() {
            return Err(malformed("reply is not a completion"));
        }
        if is_error(&frame) {
            return Err(of_object(&frame));
        }
        self.heard = true;
        if let Some(choice) = first_choice(&frame) {
            self.choice(choice, events)?;
        }
        events.extend(tokens(&frame).map(ModelEvent::Tokens));
        Ok(())
    }

    /// The error that an event of type `error` tells of.
    pub(super) fn error_event(data: &str) -> ModelError {
        of_object(&json::document(data.as_bytes()).unwrap_or_default())
    }

    /// Whether the server has said that nothing follows.
    pub(super) fn done(&self) -> bool {
        self.done
    }

    /// Whether the server has said that the answer is whole.
    pub(super) fn finished(&self) -> bool {
        self.done || self.finish_reason.is_some()
    }

    /// The one frame of this reply has been all of it.
    pub(super) fn complete(&mut self) {
        self.done = true;
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        if !self.finished() {
            return Err(if self.heard { cut_off() } else { malformed("empty reply") });
        }
        self.emit_calls(events)?;
        if self.said {
            events.extend(self.finish_reason.as_deref().and_then(cut_short).map(ModelEvent::Finish));
            return Ok(());
        }
        Err(malformed(match self.finish_reason.as_deref() {
            Some("length") => "empty reply: the token limit was reached before any text",
            Some("content_filter") => "empty reply: the server's content filter withheld it",
            Some(_) | None => "empty reply",
        }))
    }

    fn choice(&mut self, choice: &Value, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        // Chunks have `delta`, a completion has `message`.
        let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) else {
            return self.finish(choice, events);
        };
        // What vLLM and llama.cpp call `reasoning_content` is `reasoning` with others; some send both.
        let reasoning = ["reasoning_content", "reasoning"].into_iter().map(|name| text_of(delta.get(name)));
        events.extend(reasoning.into_iter().find(|text| !text.is_empty()).map(ModelEvent::Reasoning));
        // A refusal is what the model says, too.
        for text in [text_of(delta.get("content")), text_of(delta.get("refusal"))] {
            if !text.is_empty() {
                self.said = true;
                events.push_back(ModelEvent::Content(text));
            }
        }
        match delta.get("tool_calls") {
            Some(Value::Array(pieces)) => pieces.iter().try_for_each(|piece| self.calls.add(piece))?,
            // Older TGI streams one call, without a list around it.
            Some(piece @ Value::Object(_)) => self.calls.add(piece)?,
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
        }
        self.finish(choice, events)
    }

    fn finish(&mut self, choice: &Value, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        // Some servers send an empty reason with every chunk.
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(reason.to_owned());
            self.emit_calls(events)?;
        }
        Ok(())
    }

    fn emit_calls(&mut self, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        for call in self.calls.take()? {
            self.said = true;
            events.push_back(ModelEvent::ToolCall(call));
        }
        Ok(())
    }
}

/// Why a reply ended before the model had ended it.
fn cut_short(reason: &str) -> Option<FinishReason> {
    match reason {
        "length" | "max_tokens" => Some(FinishReason::Length),
        "content_filter" => Some(FinishReason::ContentFilter),
        _ => None,
    }
}

/// `{"error": …}`, or the flat `{"object": "error", "message": …}` of older vLLM.
fn is_error(frame: &Value) -> bool {
    frame.get("error").is_some_and(|error| !error.is_null())
        || frame.get("object").and_then(Value::as_str) == Some("error")
}

/// One reply is asked for, so others are not ours.
fn first_choice(frame: &Value) -> Option<&Value> {
    let choices = frame.get("choices")?.as_array()?;
    choices.iter().find(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0)
}

/// A text, or the texts of a list of parts.
fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => String::new(),
    }
}

/// What the call used, if the frame says so in numbers that can be used. llama.cpp counts cached tokens in its `timings`.
fn tokens(frame: &Value) -> Option<Tokens> {
    let usage = frame.get("usage").filter(|usage| usage.is_object())?;
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64);
    let output = match usage.get("completion_tokens") {
        Some(Value::Null) | None => 0,
        Some(output) => output.as_u64()?,
    };
    Some(Tokens {
        input: count("/prompt_tokens")?,
        output,
        cached: count("/prompt_tokens_details/cached_tokens")
            .or_else(|| frame.pointer("/timings/cache_n").and_then(Value::as_u64))
            .unwrap_or(0),
    })
}
