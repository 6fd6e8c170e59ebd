use rstest::rstest;
use serde_json::json;

use super::*;

const NOW: &str = "2026-03-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn of(status: u16, body: &str) -> ModelError {
    of_status(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), now())
}

#[rstest]
#[case(400, ModelErrorKind::Rejected)]
#[case(401, ModelErrorKind::Unauthorized)]
#[case(402, ModelErrorKind::Unauthorized)]
#[case(403, ModelErrorKind::Unauthorized)]
#[case(404, ModelErrorKind::NotFound)]
#[case(405, ModelErrorKind::Rejected)]
#[case(408, ModelErrorKind::Unavailable)]
#[case(409, ModelErrorKind::Rejected)]
#[case(413, ModelErrorKind::Rejected)]
#[case(415, ModelErrorKind::Rejected)]
#[case(418, ModelErrorKind::Rejected)]
#[case(422, ModelErrorKind::Rejected)]
#[case(429, ModelErrorKind::RateLimited)]
#[case(499, ModelErrorKind::Rejected)]
#[case(500, ModelErrorKind::Unavailable)]
#[case(501, ModelErrorKind::Unavailable)]
#[case(502, ModelErrorKind::Unavailable)]
#[case(503, ModelErrorKind::Unavailable)]
#[case(504, ModelErrorKind::Unavailable)]
#[case(529, ModelErrorKind::Unavailable)]
#[case(301, ModelErrorKind::NotFound)]
#[case(307, ModelErrorKind::NotFound)]
fn a_status_says_whose_fault_it_is(#[case] status: u16, #[case] kind: ModelErrorKind) {
    let error = of(status, r#"{"error": {"message": "words of the server"}}"#);
    assert_eq!(error.kind, kind);
    let words = if kind == ModelErrorKind::Rejected { ": words of the server" } else { "" };
    assert_eq!(error.message, format!("{status}{words}"), "only a rejection says why");
}

#[rstest]
#[case::openai(r#"{"error": {"message": "too long", "type": "invalid_request_error", "code": null}}"#, "400: too long")]
#[case::a_text(r#"{"error": "too long", "error_type": "validation"}"#, "400: too long")]
#[case::flat(r#"{"object": "error", "message": "too long", "code": 400}"#, "400: too long")]
#[case::fastapi(r#"{"detail": "too long"}"#, "400: too long")]
#[case::on_one_line("{\"error\": {\"message\": \"too\\r\\n\\tlong\\u0000 \"}}", "400: too long")]
#[case::nothing("", "400")]
#[case::not_json("<html>Bad Request</html>", "400")]
#[case::no_words("{}", "400")]
#[case::empty_words(r#"{"error": {"message": " "}}"#, "400")]
#[case::words_that_are_none(r#"{"error": {"message": 7}}"#, "400")]
#[case::a_list("[]", "400")]
fn a_rejection_tells_the_servers_words(#[case] body: &str, #[case] message: &str) {
    assert_eq!(of(400, body).message, message);
}

#[test]
fn the_servers_words_are_cut() {
    let body = json!({"error": {"message": "ä".repeat(1000)}}).to_string();
    assert_eq!(of(400, &body).message, format!("400: {}", "ä".repeat(SERVER_WORDS_MAX)));
}

#[rstest]
#[case::llama_cpp(
    json!({"error": {"code": 500, "message": "out of slots", "type": "server_error"}}),
    ModelErrorKind::Unavailable, "500"
)]
#[case::llama_cpp_context(
    json!({"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error", "n_ctx": 512}}),
    ModelErrorKind::Rejected, "400: too long"
)]
#[case::openai(
    json!({"error": {"message": "The server had an error", "type": "server_error", "code": null}}),
    ModelErrorKind::Unavailable, "error instead of a reply"
)]
#[case::openai_rate_limit(
    json!({"error": {"message": "slow down", "type": "tokens", "code": "rate_limit_exceeded"}}),
    ModelErrorKind::RateLimited, "error instead of a reply"
)]
#[case::openai_context(
    json!({"error": {"message": "too long", "code": "context_length_exceeded"}}),
    ModelErrorKind::Rejected, "error instead of a reply: too long"
)]
#[case::open_router(json!({"error": {"code": "502", "message": "upstream"}}), ModelErrorKind::Unavailable, "502")]
#[case::vllm(json!({"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}), ModelErrorKind::Rejected, "400: bad")]
#[case::tgi(json!({"error": "overloaded", "error_type": "overloaded"}), ModelErrorKind::Unavailable, "error instead of a reply")]
#[case::a_code_that_is_no_status(json!({"error": {"code": 1234, "message": "x"}}), ModelErrorKind::Unavailable, "error instead of a reply")]
#[case::a_code_of_success(json!({"error": {"code": 200, "message": "x"}}), ModelErrorKind::Unavailable, "error instead of a reply")]
#[case::nothing(json!(null), ModelErrorKind::Unavailable, "error instead of a reply")]
fn an_error_object_says_whose_fault_it_is(#[case] object: Value, #[case] kind: ModelErrorKind, #[case] message: &str) {
    assert_eq!(of_object(&object), ModelError::new(kind, message));
}
