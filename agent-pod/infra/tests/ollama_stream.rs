//! Replies as Ollama sends them, and what becomes of them, however the network cuts them. The fixtures follow its
//! documentation.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agent_pod_core::message::ToolCall;
use agent_pod_core::model::{ModelError, ModelErrorKind, ModelEvent};
use agent_pod_infra::model::error::malformed;
use agent_pod_infra::model::ollama::stream::{LINE_BYTES_MAX, STREAM_BYTES_MAX, decode, decode_whole};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use support::as_json;

const TEXT: &str = include_str!("fixtures/ollama/text.ndjson");
const THINKING: &str = include_str!("fixtures/ollama/thinking.ndjson");
const TOOL_CALLS: &str = include_str!("fixtures/ollama/tool_calls.ndjson");
const ALL: [&str; 3] = [TEXT, THINKING, TOOL_CALLS];

type Reply = Vec<Result<ModelEvent, ModelError>>;

fn reply_of(pieces: Vec<Result<Bytes, ModelError>>) -> Reply {
    decode(stream::iter(pieces), 1).collect().now_or_never().expect("nothing here waits")
}

fn whole(bytes: &[u8]) -> Reply {
    reply_of(vec![Ok(Bytes::copy_from_slice(bytes))])
}

fn cut_every(bytes: &[u8], length: usize) -> Reply {
    reply_of(bytes.chunks(length).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect())
}

fn lines(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

fn said(message: &Value) -> Value {
    json!({"model": "m", "message": message, "done": false})
}

fn done() -> Value {
    json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop"})
}

fn text(text: &str) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::Content(text.to_owned()))
}

fn call(id: &str, name: &str, arguments: Value) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments }))
}

fn broken(phrase: &str) -> Result<ModelEvent, ModelError> {
    Err(malformed(phrase))
}

#[rstest]
#[case("text_events", TEXT)]
#[case("thinking_events", THINKING)]
#[case("tool_calls_events", TOOL_CALLS)]
fn a_stream_gives_the_golden_events(#[case] name: &str, #[case] bytes: &str) {
    let reply = whole(bytes.as_bytes());
    insta::with_settings!({ snapshot_path => "fixtures/ollama", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_json_snapshot!(name, as_json(&reply));
    });
    for length in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(cut_every(bytes.as_bytes(), length), reply, "cut every {length} bytes");
    }
    let other = bytes.replace('\n', "\r\n\r\n");
    assert_eq!(cut_every(other.as_bytes(), 1), reply, "with other line ends and empty lines");
    assert_eq!(whole(bytes.trim_end().as_bytes()), reply, "without the last line end");
}

#[rstest]
#[case::alone(include_str!("fixtures/ollama/completion.json"))]
#[case::with_more_behind(concat!(include_str!("fixtures/ollama/completion.json"), "\n{\"late\": 1}"))]
fn a_document_gives_the_golden_events(#[case] body: &str) {
    let reply: Reply = decode_whole(body.as_bytes(), 1).unwrap().into_iter().map(Ok).collect();
    insta::with_settings!({ snapshot_path => "fixtures/ollama", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_json_snapshot!("completion_events", as_json(&reply));
    });
}

#[test]
fn lines_under_the_name_of_a_document_are_understood() {
    let reply: Reply = decode_whole(TEXT.as_bytes(), 1).unwrap().into_iter().map(Ok).collect();
    assert_eq!(reply, whole(TEXT.as_bytes()));
}

#[test]
fn a_stream_cut_off_before_its_end_says_so() {
    for fixture in ALL {
        let last = fixture.trim_end().len();
        for end in 0..last {
            let reply = whole(&fixture.as_bytes()[..end]);
            let cut = &fixture.as_bytes()[..end];
            let heard = cut.contains(&b'\n') || serde_json::from_slice::<Value>(cut).is_ok();
            let phrase = if heard { "stream cut off" } else { "empty reply" };
            assert_eq!(reply.last(), Some(&broken(phrase)), "cut after {end} bytes");
        }
    }
}

#[rstest]
#[case::nothing("", "empty reply")]
#[case::empty_lines("\n\r\n \n", "empty reply")]
#[case::no_word(&lines(&[done()]), "empty reply")]
#[case::out_of_tokens(
    "{\"done\": true, \"done_reason\": \"length\"}\n",
    "empty reply: the token limit was reached before any text"
)]
#[case::only_a_role(&lines(&[said(&json!({"role": "assistant", "content": ""}))]), "stream cut off")]
#[case::html("<html>\n", "reply is not JSON")]
#[case::half_a_line("{\"message\": \n", "reply is not JSON")]
#[case::not_utf_8("{\"message\": {\"content\": \"\u{fffd}\"}\n", "reply is not JSON")]
#[case::no_chat("[1]\n", "reply is not a chat")]
#[case::wrong_types("{\"message\": 7}\n", "reply is not a chat")]
#[case::a_call_without_a_name(&lines(&[said(&json!({"tool_calls": [{"function": {"arguments": {}}}]}))]), "tool call without a name")]
fn what_is_no_reply_is_malformed(#[case] bytes: &str, #[case] phrase: &str) {
    assert_eq!(whole(bytes.as_bytes()), [broken(phrase)]);
    assert_eq!(cut_every(bytes.as_bytes(), 1), [broken(phrase)]);
}

#[rstest]
#[case::without_ids(
    json!([{"function": {"name": "f", "arguments": {}}}, {"function": {"name": "g", "arguments": {"x": 1}}}]),
    vec![call("call_1", "f", json!({})), call("call_2", "g", json!({"x": 1}))]
)]
#[case::with_ids(
    json!([{"id": "a", "function": {"name": "f", "arguments": {}}}, {"id": "b", "function": {"name": "g", "arguments": {}}}]),
    vec![call("a", "f", json!({})), call("b", "g", json!({}))]
)]
#[case::one_id_for_two(
    json!([{"id": "a", "function": {"name": "f"}}, {"id": "a", "function": {"name": "g", "arguments": null}}]),
    vec![call("a", "f", json!({})), call("call_1", "g", json!({}))]
)]
#[case::made_up_ids_make_way_for_real_ones(
    json!([{"id": "call_1", "function": {"name": "f"}}, {"function": {"name": "g"}}]),
    vec![call("call_1", "f", json!({})), call("call_2", "g", json!({}))]
)]
#[case::arguments_as_text(
    json!([{"function": {"name": "f", "arguments": "{\"x\": 1}"}}, {"function": {"name": "g", "arguments": "{\"x"}}]),
    vec![call("call_1", "f", json!({"x": 1})), call("call_2", "g", json!("{\"x"))]
)]
fn tool_calls_are_told(#[case] calls: Value, #[case] expected: Reply) {
    let together = lines(&[said(&json!({"content": "", "tool_calls": calls})), done()]);
    assert_eq!(whole(together.as_bytes()), expected);
    let each: Vec<_> = calls.as_array().unwrap().iter().map(|call| said(&json!({"tool_calls": [call]}))).collect();
    assert_eq!(whole((lines(&each) + &lines(&[done()])).as_bytes()), expected);
}

#[rstest]
#[case::a_text(json!({"error": "model runner has stopped"}), ModelErrorKind::Unavailable, "error instead of a reply")]
#[case::an_object(json!({"error": {"code": 503, "message": "busy"}}), ModelErrorKind::Unavailable, "503")]
fn an_error_within_the_stream_ends_it(#[case] error: Value, #[case] kind: ModelErrorKind, #[case] message: &str) {
    let bytes = lines(&[said(&json!({"content": "Hi"})), error, said(&json!({"content": "more"})), done()]);
    assert_eq!(whole(bytes.as_bytes()), [text("Hi"), Err(ModelError::new(kind, message))]);
}

#[test]
fn what_follows_the_end_is_not_read() {
    let bytes = lines(&[said(&json!({"content": "Hi"})), done(), said(&json!({"content": "more"}))]) + "noise";
    assert_eq!(whole(bytes.as_bytes()), [text("Hi")]);
}

#[test]
fn a_broken_connection_breaks_the_reply_unless_it_was_whole() {
    let reset = || Err(ModelError::new(ModelErrorKind::Unavailable, "connection reset"));
    let hi = Bytes::from(lines(&[said(&json!({"content": "Hi"}))]));
    assert_eq!(
        reply_of(vec![Ok(hi.clone()), reset()]),
        [text("Hi"), Err(ModelError::new(ModelErrorKind::Unavailable, "connection reset"))]
    );
    assert_eq!(reply_of(vec![Ok(hi), Ok(Bytes::from(lines(&[done()]))), reset()]), [text("Hi")]);
}

#[test]
fn a_line_is_bounded() {
    let long = lines(&[said(&json!({"content": "x".repeat(LINE_BYTES_MAX)}))]);
    assert_eq!(whole(long.as_bytes()), [broken("event too large")]);
    assert_eq!(cut_every(long.as_bytes(), 1500), [broken("event too large")]);
    assert_eq!(cut_every(&vec![b'x'; LINE_BYTES_MAX + 2], 1500), [broken("event too large")], "without an end");
    let below = "x".repeat(LINE_BYTES_MAX - 1000);
    let bytes = lines(&[said(&json!({"content": below})), said(&json!({"content": below})), done()]);
    assert_eq!(whole(bytes.as_bytes()), [text(&below), text(&below)]);
}

#[test]
fn a_stream_is_bounded() {
    let piece = Bytes::from(lines(&[json!({"padding": "x".repeat(LINE_BYTES_MAX / 2)})]));
    let pieces = std::iter::repeat_n(Ok(piece), STREAM_BYTES_MAX / (LINE_BYTES_MAX / 2) + 1).collect();
    assert_eq!(reply_of(pieces), [broken("reply too large")]);
}

#[test]
fn tool_calls_are_bounded() {
    let many: Vec<_> = (0..129).map(|_| json!({"function": {"name": "f"}})).collect();
    let reply = whole(lines(&[said(&json!({"tool_calls": many})), done()]).as_bytes());
    assert_eq!(reply.last(), Some(&broken("too many tool calls")));
}

proptest! {
    #[test]
    fn cuts_never_matter(
        fixture in prop::sample::select(ALL.to_vec()),
        end in 0_usize..2000,
        cuts in prop::collection::vec(0_usize..2000, 0..20),
    ) {
        let bytes = &fixture.as_bytes()[..end.min(fixture.len())];
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| Ok(Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]))).collect();
        prop_assert_eq!(reply_of(pieces), whole(bytes));
    }

    #[test]
    fn no_bytes_make_it_panic_or_speak_after_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let reply = whole(&bytes);
        prop_assert!(reply.iter().rev().skip(1).all(Result::is_ok));
        prop_assert!(reply.last().is_some_and(Result::is_err), "noise is no reply");
    }

    #[test]
    fn repeated_and_shuffled_lines_give_a_reply_or_an_error(
        fixture in prop::sample::select(ALL.to_vec()),
        order in prop::collection::vec(0_usize..16, 0..40),
        cut in 1_usize..200,
    ) {
        let all: Vec<_> = fixture.split_inclusive('\n').collect();
        let bytes: String = order.iter().map(|at| all[at % all.len()]).collect();
        let reply = whole(bytes.as_bytes());
        prop_assert!(!reply.is_empty() && reply.iter().rev().skip(1).all(Result::is_ok));
        prop_assert_eq!(cut_every(bytes.as_bytes(), cut), reply);
    }
}
