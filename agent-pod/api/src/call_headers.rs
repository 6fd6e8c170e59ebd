//! What the headers of a call say about its run.

use std::time::Duration;

use agent_pod_core::error::{FieldProblem, RunError};
use agent_pod_core::peer::DEPTH_MAX;
use agent_pod_core::service::{IdempotencyKey, RunOptions};
use axum::http::HeaderMap;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::fields::{problem, validation_failed};

const TIMEOUT_HEADER: &str = "x-request-timeout-ms";
const TRACE_HEADER: &str = "traceparent";
const DEPTH_HEADER: &str = "x-astromesh-depth";
const TOKENS_HEADER: &str = "x-astromesh-tokens-left";
const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// The longest idempotency key, in characters.
const KEY_CHARS_MAX: usize = 255;

/// The headers that runs know of.
pub(crate) struct CallHeaders {
    trace_id: Option<String>,
    timeout: Option<Duration>,
    idempotency_key: Option<String>,
    depth: u32,
    tokens_max: Option<u64>,
    /// What is wrong with them.
    pub(crate) problems: Vec<FieldProblem>,
}

impl CallHeaders {
    /// Reads them.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let (timeout, idempotency_key, depth) = (timeout(headers), idempotency_key(headers), depth(headers));
        let problems = timeout.as_ref().err().into_iter().chain(idempotency_key.as_ref().err());
        let tokens_max = tokens_max(headers);
        let problems = problems.chain(depth.as_ref().err()).chain(tokens_max.as_ref().err()).cloned().collect();
        let (timeout, idempotency_key) = (timeout.ok().flatten(), idempotency_key.ok().flatten());
        Self {
            trace_id: trace_id(headers),
            timeout,
            idempotency_key,
            depth: depth.unwrap_or_default(),
            tokens_max: tokens_max.ok().flatten(),
            problems,
        }
    }

    /// A hash of the body, where there is a key that needs it. Neither the order of fields nor white space matter.
    pub(crate) fn fingerprint(&self, body: &Value) -> Option<[u8; 32]> {
        self.idempotency_key.as_ref().map(|_key| fingerprint(body))
    }

    /// What they say as options of a run.
    pub(crate) fn options(self, fingerprint: Option<[u8; 32]>, streaming: bool) -> RunOptions {
        let idempotency =
            self.idempotency_key.clone().zip(fingerprint).map(|(key, fingerprint)| IdempotencyKey { key, fingerprint });
        let Self { trace_id, timeout, depth, tokens_max, .. } = self;
        RunOptions { trace_id, timeout, idempotency, streaming, depth, tokens_max, ..RunOptions::default() }
    }
}

/// What the headers of a WebSocket's handshake say of each run on it.
///
/// # Errors
/// `validation_failed` where the deadline is none.
pub(crate) fn of_handshake(headers: &HeaderMap) -> Result<RunOptions, RunError> {
    let timeout = timeout(headers).map_err(|problem| validation_failed(vec![problem]))?;
    Ok(RunOptions { trace_id: trace_id(headers), timeout, streaming: true, attended: true, ..RunOptions::default() })
}

/// Absent and null mean the same, and so do both names of the session, and no word of a stream and none wanted.
fn fingerprint(body: &Value) -> [u8; 32] {
    let mut hash = Sha256::new();
    if let Value::Object(fields) = body {
        let unsaid = |name: &str, value: &Value| value.is_null() || (name == "stream" && *value == Value::Bool(false));
        let said = fields.iter().filter(|(name, value)| !unsaid(name, value));
        let mut said: Vec<(&str, &Value)> = said.map(|(name, value)| (name.as_str(), value)).collect();
        if said.iter().any(|(name, _)| *name == "sessionId") {
            said.retain(|(name, _)| *name != "session_id");
        }
        said.iter_mut().filter(|(name, _)| *name == "session_id").for_each(|(name, _)| *name = "sessionId");
        hash_object(&mut hash, said);
    } else {
        hash_value(&mut hash, body);
    }
    hash.finalize().into()
}

/// Hashes a value as it stands, without a copy of it. Lengths go before what they count, so that no two values are one.
fn hash_value(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(on) => hash.update([b'b', u8::from(*on)]),
        Value::Number(number) => hash_text(hash, b'd', &number.to_string()),
        Value::String(text) => hash_text(hash, b's', text),
        Value::Array(items) => {
            hash_length(hash, b'a', items.len());
            items.iter().for_each(|item| hash_value(hash, item));
        }
        Value::Object(fields) => hash_object(hash, fields.iter().map(|(name, value)| (name.as_str(), value)).collect()),
    }
}

fn hash_object(hash: &mut Sha256, mut fields: Vec<(&str, &Value)>) {
    fields.sort_unstable_by_key(|(name, _)| *name);
    hash_length(hash, b'o', fields.len());
    for (name, value) in fields {
        hash_text(hash, b'k', name);
        hash_value(hash, value);
    }
}

fn hash_text(hash: &mut Sha256, sort: u8, text: &str) {
    hash_length(hash, sort, text.len());
    hash.update(text);
}

fn hash_length(hash: &mut Sha256, sort: u8, length: usize) {
    hash.update([sort]);
    hash.update(length.to_le_bytes());
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, FieldProblem> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(None) };
    match value.to_str().unwrap_or_default().trim().parse::<u64>() {
        Ok(milliseconds) if milliseconds > 0 => Ok(Some(Duration::from_millis(milliseconds))),
        Ok(_) | Err(_) => Err(problem("X-Request-Timeout-Ms", "must be a whole number of milliseconds above 0")),
    }
}

/// What the agents that have called each other to get here may still use.
fn tokens_max(headers: &HeaderMap) -> Result<Option<u64>, FieldProblem> {
    let Some(value) = headers.get(TOKENS_HEADER) else { return Ok(None) };
    let tokens = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    tokens.map(Some).ok_or_else(|| problem("X-Astromesh-Tokens-Left", "must be a whole number of tokens"))
}

/// How many agents have called each other to get here.
fn depth(headers: &HeaderMap) -> Result<u32, FieldProblem> {
    let Some(value) = headers.get(DEPTH_HEADER) else { return Ok(0) };
    let depth = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|depth| *depth <= DEPTH_MAX);
    depth.ok_or_else(|| {
        let message = format!("must be a whole number up to {DEPTH_MAX}: agents call each other no deeper");
        problem("X-Astromesh-Depth", &message)
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, FieldProblem> {
    let mut values = headers.get_all(IDEMPOTENCY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if values.next().is_none() && visible && (1..=KEY_CHARS_MAX).contains(&key.len()) {
        return Ok(Some(key.to_owned()));
    }
    Err(problem("Idempotency-Key", "must come once and have 1 to 255 visible ASCII characters"))
}

/// The trace id of `version-traceid-parentid-flags`. A malformed header is ignored, as the standard wants it.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(TRACE_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let parts: Vec<_> = value.to_str().ok()?.trim().split('-').collect();
    let [version, trace_id, parent_id, flags, rest @ ..] = parts.as_slice() else { return None };
    let version_known = is_hex(version, 2) && *version != "ff" && (*version != "00" || rest.is_empty());
    let ids_set = is_hex(trace_id, 32) && is_hex(parent_id, 16) && !is_zero(trace_id) && !is_zero(parent_id);
    (version_known && ids_set && is_hex(flags, 2)).then(|| (*trace_id).to_owned())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}
