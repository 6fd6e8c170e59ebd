//! Every way in which a provider can fail: alone, before another one, and in front of a caller who reads along.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fault::{Fault, Place};
use crate::model_server::ModelServer;
use crate::reply::{Act, Reply};
use crate::world::{Answer, World, agent, count_of, provider};

fn in_seconds(seconds: u64) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + Duration::from_secs(seconds))).unwrap()
}

fn refused(status: u16) -> Reply {
    Reply::refusal(status, &[])
}

fn begun() -> Reply {
    Reply::stream().text("It ")
}

fn error_body(word: &str) -> Reply {
    Reply::document(&json!({"error": {"message": "as scripted", "type": word}}))
}

const ERROR_EVENT: &str = r#"{"error": {"message": "boom", "code": 500}}"#;

/// Nobody listens on port 1.
const CLOSED_PORT: &str = "http://127.0.0.1:1/v1";

#[rstest]
#[case::status_429(Fault::impatient(refused(429)))]
#[case::status_429_with_seconds(Fault::patient("Retry-After", "7", (6, 7)))]
#[case::status_429_with_a_date(Fault::patient("Retry-After", &in_seconds(30), (25, 30)))]
#[case::status_429_with_milliseconds(Fault::patient("retry-after-ms", "2500", (2, 3)))]
#[case::status_429_with_a_vendors_reset(Fault::patient("x-ratelimit-reset-requests", "6m30s", (389, 390)))]
#[case::status_429_with_a_general_reset(Fault::patient("x-ratelimit-reset", "12", (11, 12)))]
#[case::status_500(Fault::scripted(refused(500), "500"))]
#[case::status_503(Fault::scripted(refused(503), "503"))]
#[case::status_503_with_seconds(
    Fault { retry_after: Some((1, 1)), ..Fault::scripted(Reply::refusal(503, &[("Retry-After", "1")]), "503") }
)]
#[case::status_503_that_asks_for_long(
    Fault { tries: 1, retry_after: Some((9, 9)), ..Fault::scripted(Reply::refusal(503, &[("Retry-After", "9")]), "503") }
)]
#[case::status_408(Fault::scripted(refused(408), "408"))]
#[case::connection_refused(Fault::of(Place::Elsewhere(CLOSED_PORT), "connection refused"))]
#[case::no_such_name(Fault::of(Place::Elsewhere("http://no-such-host.invalid/v1"), "name not found"))]
#[case::no_tls(Fault::of(Place::WithoutTls, "TLS failure"))]
#[case::reset_before_the_head(Fault::scripted(Reply::nothing().then(Act::Reset), "connection reset"))]
#[case::closed_before_the_head(Fault::scripted(Reply::nothing().then(Act::Close), "connection reset"))]
#[case::silent_before_the_head(Fault::slow(Reply::silence(), "timed out, no answer"))]
#[case::silent_before_the_first_token(Fault::slow(Reply::stream().then(Act::Silence), "timed out, stalled"))]
#[case::silent_between_tokens(Fault::slow(begun().then(Act::Silence), "timed out, stalled").after_text())]
#[case::cut_off_before_the_first_token(Fault::malformed(Reply::stream().then(Act::Close), "stream cut off"))]
#[case::cut_off_between_tokens(Fault::malformed(begun().then(Act::Close), "stream cut off").after_text())]
#[case::ended_without_an_end(Fault::malformed(begun().chunk_end(), "stream cut off").after_text())]
#[case::reset_between_tokens(Fault::scripted(begun().then(Act::Reset), "connection reset").after_text())]
#[case::error_event_first(Fault::scripted(Reply::stream().data(ERROR_EVENT).chunk_end(), "500"))]
#[case::error_event_between_tokens(Fault::scripted(begun().data(ERROR_EVENT).chunk_end(), "500").after_text())]
#[case::nonsense_between_tokens(Fault::malformed(begun().data("{no json"), "reply is not JSON").after_text())]
#[case::empty_stream(Fault::malformed(Reply::stream().chunk_end(), "empty reply"))]
#[case::empty_answer(Fault { booked: true, ..Fault::malformed(Reply::stream().end(), "empty reply") })]
#[case::done_and_nothing_else(Fault::malformed(Reply::stream().data("[DONE]").chunk_end(), "empty reply"))]
#[case::ok_with_an_error(Fault::scripted(error_body("server_error"), "error instead of a reply"))]
#[case::ok_with_a_refusal(Fault::rejected(
    error_body("invalid_request_error"),
    "error instead of a reply: as scripted"
))]
#[case::ok_with_nothing(Fault::malformed(Reply::document(&json!({})), "empty reply"))]
#[case::ok_with_a_page(Fault::malformed(Reply::status(200, &[("content-type", "text/html")], "<html>"), "empty reply"))]
#[case::status_400(Fault::rejected(refused(400), "400: as scripted"))]
#[case::status_413(Fault::rejected(refused(413), "413: as scripted"))]
#[case::status_422(Fault::rejected(refused(422), "422: as scripted"))]
#[case::status_401(Fault::misconfigured(401, "401"))]
#[case::status_403(Fault::misconfigured(403, "403"))]
#[case::status_404(Fault::misconfigured(404, "404"))]
#[tokio::test]
async fn a_fault_is_told_booked_and_followed_as_it_deserves(#[case] fault: Fault) {
    let (server, url) = fault.open().await;
    let spare = ModelServer::good("spare").await;
    let world = world(&fault, &url, &spare).await;
    let count = || server.as_ref().map_or(0, ModelServer::count);

    alone(&fault, &world).await;
    let reached = if matches!(fault.place, Place::Scripted(_)) { fault.tries } else { 0 };
    assert_eq!(count(), reached, "calls of one run");

    before_another(&fault, &world.run("pair").await);
    let followed = usize::from(fault.followed);
    assert_eq!((count(), spare.count()), (2 * reached, followed), "calls of two runs, and the spare one's");

    read_along(&fault, &world.events("read").await);
    let spared = usize::from(fault.followed && !fault.begun);
    assert_eq!(spare.count(), followed + spared, "the spare one after the first token of another");
    let last = if fault.begun { reached.min(1) } else { reached };
    assert_eq!(count(), 2 * reached + last, "nothing is tried again behind a reader's back");
    world.idle().await;
}

/// Each agent has a model of its own, so that none finds a circuit open.
async fn world(fault: &Fault, url: &str, spare: &ModelServer) -> World {
    let models = json!([{"name": "single"}, {"name": "pair"}, {"name": "read"}]);
    let spec = json!({"timeouts": fault.timeouts, "circuitBreaker": {"failureThreshold": 1}, "models": models});
    World::of([
        provider("faulty", url, spec),
        provider("spare", &spare.url(), json!({})),
        agent("single", &["faulty/single"], json!({})),
        agent("pair", &["faulty/pair", "spare"], json!({})),
        agent("read", &["faulty/read", "spare"], json!({})),
    ])
    .await
}

async fn alone(fault: &Fault, world: &World) {
    let answer = world.run("single").await;
    answer.assert_error(fault.status, fault.code);
    assert_eq!(answer.attempts(), vec![format!("faulty {}", fault.outcome); fault.tries]);
    let wait = answer.retry_after;
    let expected =
        fault.retry_after.map_or_else(|| wait.is_none(), |(least, most)| wait.is_some_and(|s| s >= least && s <= most));
    assert!(expected, "Retry-After: {wait:?}");
    let (message, phrase) = (answer.message(), fault.phrase);
    let named = [format!("faulty ({phrase})"), format!("faulty found the request at fault: {phrase}")];
    assert!(named.iter().any(|named| message.contains(named)), "{message}");

    let state = world.model("faulty", "single").await;
    assert_eq!(state["circuit"], if fault.blamed { "open" } else { "closed" });
    assert_eq!((&state["lastError"], state["coolingUntil"].is_string()), (&json!(fault.outcome), fault.cools));
    let tries = world.tries("faulty", fault.outcome).await;
    assert_eq!(tries, f64::from(u32::try_from(fault.tries).unwrap()));
    assert_eq!(world.tokens("faulty", "input").await > 0.0, fault.booked, "what came of an answer is booked");
}

fn before_another(fault: &Fault, answer: &Answer) {
    if fault.followed {
        assert_eq!((answer.status, answer.text()), (200, "spare"));
        let mut expected = vec![format!("faulty {}", fault.outcome); fault.tries];
        expected.push("spare ok".to_owned());
        assert_eq!(answer.attempts(), expected);
    } else {
        answer.assert_error(fault.status, fault.code);
    }
}

fn read_along(fault: &Fault, events: &[Value]) {
    let last = events.last().unwrap();
    let fails = fault.begun || !fault.followed;
    let ends = (count_of(events, "done"), count_of(events, "error"));
    assert_eq!(ends, if fails { (0, 1) } else { (1, 0) }, "{events:#?}");
    if fails {
        assert_eq!((&last["type"], &last["error"]["code"]), (&json!("error"), &json!(fault.code)));
        assert_eq!(count_of(events, "token"), usize::from(fault.begun), "{events:#?}");
    } else {
        assert_eq!((&last["type"], &last["answer"]), (&json!("done"), &json!("spare")));
    }
}
