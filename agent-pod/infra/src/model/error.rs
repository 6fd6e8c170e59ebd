//! From every way to fail to whose fault it is and a phrase that a caller may see.

use std::error::Error;
use std::io;

use agent_pod_core::byte_pool::PoolError;
use agent_pod_core::model::{ModelError, ModelErrorKind};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use tracing::debug;

use super::retry_after::retry_after;
use crate::http::{ConnectTimeout, HttpError, NameNotFound, TlsError};

/// The most characters of a server's own words in a phrase.
pub const SERVER_WORDS_MAX: usize = 300;

/// An answer other than 2xx. Its phrase is the status; only a rejected request says why in the server's own words, for
/// its sender has to change it.
#[must_use]
pub fn of_status(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> ModelError {
    let body = serde_json::from_slice(body).unwrap_or_default();
    let mut error = with_words(kind_of(status), status.as_str(), &body);
    error.retry_after = retry_after(status, headers, now);
    error.status = Some(status.as_u16());
    error
}

/// An error object in the place of a reply, as the chat completions protocol, llama.cpp, vLLM and TGI write it.
#[must_use]
pub fn of_object(object: &Value) -> ModelError {
    let inner = object.get("error").unwrap_or(object);
    let code = inner.get("code").and_then(as_status);
    let kind = code.map_or_else(|| kind_of_type([inner, object]), kind_of);
    with_words(kind, code.as_ref().map_or("error instead of a reply", StatusCode::as_str), object)
}

/// A request that got no answer.
#[must_use]
pub fn unreachable(error: &HttpError) -> ModelError {
    debug!(error = error as &(dyn Error + 'static), "model server not reached");
    if let HttpError::Tls(error) = error {
        return match error {
            // Like a missing credential: somebody has to mend a Secret.
            TlsError::CaMissing | TlsError::CaNotPem => {
                ModelError::new(ModelErrorKind::Unauthorized, error.to_string())
            }
            TlsError::System(_) => ModelError::new(ModelErrorKind::Unavailable, "TLS failure"),
        };
    }
    let phrase = if has::<ConnectTimeout>(error) {
        "connect timeout"
    } else if has::<NameNotFound>(error) {
        "name not found"
    } else if has::<rustls::Error>(error) {
        "TLS failure"
    } else if has_io(error, &[io::ErrorKind::ConnectionRefused]) {
        "connection refused"
    } else if is_reset(error) || is_incomplete(error) {
        "connection reset"
    } else {
        "connection failed"
    };
    ModelError::new(ModelErrorKind::Unavailable, phrase)
}

/// A reply that broke on its way.
#[must_use]
pub fn broken(error: &hyper::Error) -> ModelError {
    debug!(error = error as &(dyn Error + 'static), "reply of the model server broke");
    if is_incomplete(error) {
        cut_off()
    } else if is_reset(error) {
        ModelError::new(ModelErrorKind::Unavailable, "connection reset")
    } else {
        ModelError::new(ModelErrorKind::Unavailable, "connection failed")
    }
}

/// A reply that is not what the protocol says.
#[must_use]
pub fn malformed(phrase: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Malformed, phrase)
}

/// There is no memory for what a server says.
pub(crate) fn no_memory(error: PoolError) -> ModelError {
    match error {
        PoolError::NeverFits { .. } => malformed("reply takes more memory than this pod has"),
        PoolError::Exhausted => ModelError::new(ModelErrorKind::NoMemory, "no memory left for the reply"),
    }
}

pub(super) fn cut_off() -> ModelError {
    malformed("stream cut off")
}

fn kind_of(status: StatusCode) -> ModelErrorKind {
    match status.as_u16() {
        // A redirect is not followed: the endpoint is not where the model is.
        404 | 300..=399 => ModelErrorKind::NotFound,
        // 402: the account has no credit left, which the caller cannot mend.
        401..=403 => ModelErrorKind::Unauthorized,
        408 => ModelErrorKind::Unavailable,
        429 => ModelErrorKind::RateLimited,
        400..=499 => ModelErrorKind::Rejected,
        _ => ModelErrorKind::Unavailable,
    }
}

/// Error objects without a number say what they mean by a word; an unknown one is the server's fault.
fn kind_of_type(errors: [&Value; 2]) -> ModelErrorKind {
    let words = errors
        .into_iter()
        .flat_map(|error| ["type", "error_type", "code"].into_iter().filter_map(|name| error.get(name)?.as_str()));
    for word in words {
        match word {
            "invalid_request_error" | "exceed_context_size_error" | "context_length_exceeded" | "validation" => {
                return ModelErrorKind::Rejected;
            }
            "authentication_error" | "permission_error" | "invalid_api_key" => return ModelErrorKind::Unauthorized,
            "not_found_error" | "model_not_found" => return ModelErrorKind::NotFound,
            "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "requests" | "tokens" => {
                return ModelErrorKind::RateLimited;
            }
            _ => {}
        }
    }
    ModelErrorKind::Unavailable
}

fn as_status(code: &Value) -> Option<StatusCode> {
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    let status = StatusCode::from_u16(u16::try_from(number).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

fn with_words(kind: ModelErrorKind, phrase: &str, body: &Value) -> ModelError {
    let words = if kind == ModelErrorKind::Rejected { server_words(body) } else { None };
    ModelError::new(kind, words.map_or_else(|| phrase.to_owned(), |words| format!("{phrase}: {words}")))
}

/// The server's own words on one line, cut to [`SERVER_WORDS_MAX`] characters.
fn server_words(body: &Value) -> Option<String> {
    let error = body.get("error").unwrap_or(body);
    let words =
        error.as_str().or_else(|| ["message", "detail"].into_iter().find_map(|name| error.get(name)?.as_str()))?;
    let line = words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line: String = line.collect::<Vec<_>>().join(" ").chars().take(SERVER_WORDS_MAX).collect();
    (!line.is_empty()).then_some(line)
}

/// An error and its causes. An I/O error would leave out the error that it wraps.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause_of(*cause))
}

fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn has<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<T>())
}

fn has_io(error: &(dyn Error + 'static), kinds: &[io::ErrorKind]) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| kinds.contains(&cause.kind()))
}

fn is_reset(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    has_io(error, &[BrokenPipe, ConnectionAborted, ConnectionReset])
}

/// The server has closed the connection before its answer was whole.
fn is_incomplete(error: &(dyn Error + 'static)) -> bool {
    has_io(error, &[io::ErrorKind::UnexpectedEof])
        || causes(error)
            .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
            .any(|error| error.is_incomplete_message() || error.is_canceled())
}

#[cfg(test)]
mod tests;
