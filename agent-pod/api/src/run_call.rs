//! Everything that a call of the run route carries.

use agent_pod_core::error::RunError;
use agent_pod_core::event::TurnRequest;
use agent_pod_core::service::RunOptions;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::call_headers::CallHeaders;
use crate::fields::validation_failed;
use crate::json_body::read_json;
use crate::turn_request::parse_turn;

/// A checked call of the run route.
pub(crate) struct RunCall {
    /// The question.
    pub(crate) turn: TurnRequest,
    /// What the headers say, and whether the answer shall be a stream of events. Who calls is not known here.
    pub(crate) options: RunOptions,
}

impl RunCall {
    /// Reads a body of at most `bytes_max` bytes and the headers.
    ///
    /// # Errors
    /// As [`read_json`], and `validation_failed` with every problem of body and headers.
    pub(crate) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Self, RunError> {
        let called = CallHeaders::read(headers);
        let body = read_json(headers, body, bytes_max).await?.value;
        let fingerprint = called.fingerprint(&body);
        match (parse_turn(body), called.problems.is_empty()) {
            (Ok(parsed), true) => {
                let streaming = parsed.stream || accepts_events(headers);
                Ok(Self { turn: parsed.turn, options: called.options(fingerprint, streaming) })
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
