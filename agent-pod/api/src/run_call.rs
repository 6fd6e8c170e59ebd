//! Everything that a call of the run route carries.

use agent_pod_core::byte_pool::RunBytes;
use agent_pod_core::error::RunError;
use agent_pod_core::event::TurnRequest;
use agent_pod_core::service::RunOptions;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::call_headers::CallHeaders;
use crate::fields::validation_failed;
use crate::json_body::{BodyLimits, JsonBody, read_json};
use crate::turn_request::parse_turn;

/// A checked call of the run route.
pub(crate) struct RunCall {
    /// The question.
    pub(crate) turn: TurnRequest,
    /// What the headers say, and whether the answer shall be a stream of events. Who calls is not known here.
    pub(crate) options: RunOptions,
}

impl RunCall {
    /// Reads a body within `limits`, and the headers.
    ///
    /// # Errors
    /// As [`read_json`], and `validation_failed` with every problem of body and headers.
    pub(crate) async fn read(headers: &HeaderMap, body: Body, limits: &BodyLimits<'_>) -> Result<Self, RunError> {
        let called = CallHeaders::read(headers);
        let JsonBody { value, bytes: _, held } = read_json(headers, body, limits).await?;
        let fingerprint = called.fingerprint(&value);
        match (parse_turn(value), called.problems.is_empty()) {
            (Ok(parsed), true) => {
                let streaming = parsed.stream || accepts_events(headers);
                let options = RunOptions { bytes: RunBytes::new(held), ..called.options(fingerprint, streaming) };
                Ok(Self { turn: parsed.turn, options })
            }
            (parsed, _) => Err(validation_failed(parsed.err().into_iter().flatten().chain(called.problems).collect())),
        }
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let ranges =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
}
