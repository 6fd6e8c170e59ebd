//! Replies as servers send them, and what becomes of them, however the network cuts them.
//!
//! `fixtures/llamacpp/text.sse` is recorded from a server of llama.cpp; the other fixtures follow the vendors' documentation.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agent_pod_core::message::ToolCall;
use agent_pod_core::model::{FinishReason, ModelError, ModelErrorKind, ModelEvent};
use agent_pod_core::usage::Tokens;
use agent_pod_infra::model::chat_completions::stream::{EVENT_BYTES_MAX, STREAM_BYTES_MAX, decode, decode_whole};
use agent_pod_infra::model::error::malformed;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use support::as_json;

const TEXT: &str = include_str!("fixtures/openai/text.sse");
const TOOL_CALLS: &str = include_str!("fixtures/openai/tool_calls.sse");
const REFUSAL: &str = include_str!("fixtures/openai/refusal.sse");
const LLAMA_TEXT: &str = include_str!("fixtures/llamacpp/text.sse");
const LLAMA_TOOL_CALL: &str = include_str!("fixtures/llamacpp/tool_call.sse");
const VLLM_REASONING: &str = include_str!("fixtures/vllm/reasoning.sse");
const VLLM_TOOL_CALLS: &str = include_str!("fixtures/vllm/tool_calls.sse");
const TGI_TEXT: &str = include_str!("fixtures/hf_tgi/text.sse");
const TGI_TOOL_CALLS: &str = include_str!("fixtures/hf_tgi/tool_calls.sse");
const TGI_TOOL_CALL_OLD: &str = include_str!("fixtures/hf_tgi/tool_call_old.sse");

const ALL: [&str; 10] = [
    TEXT,
    TOOL_CALLS,
    REFUSAL,
    LLAMA_TEXT,
    LLAMA_TOOL_CALL,
    VLLM_REASONING,
    VLLM_TOOL_CALLS,
    TGI_TEXT,
    TGI_TOOL_CALLS,
    TGI_TOOL_CALL_OLD,
];

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

fn frames(frames: &[Value]) -> String {
    frames.iter().map(|frame| format!("data: {frame}\n\n")).collect()
}

fn delta(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn text(text: &str) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::Content(text.to_owned()))
}

fn call(id: &str, name: &str, arguments: Value) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments }))
}

fn thought(text: &str) -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::Reasoning(text.to_owned()))
}

fn broken(phrase: &str) -> Result<ModelEvent, ModelError> {
    Err(malformed(phrase))
}

/// A reply with these pieces of tool calls.
fn calling(pieces: &[Value]) -> Reply {
    let mut all: Vec<_> = pieces.iter().map(|piece| delta(&json!({"tool_calls": [piece]}))).collect();
    all.push(finish("tool_calls"));
    whole(frames(&all).as_bytes())
}

#[rstest]
#[case("fixtures/openai", "text", TEXT)]
#[case("fixtures/openai", "tool_calls", TOOL_CALLS)]
#[case("fixtures/openai", "refusal", REFUSAL)]
#[case("fixtures/llamacpp", "text", LLAMA_TEXT)]
#[case("fixtures/llamacpp", "tool_call", LLAMA_TOOL_CALL)]
#[case("fixtures/vllm", "reasoning", VLLM_REASONING)]
#[case("fixtures/vllm", "tool_calls", VLLM_TOOL_CALLS)]
#[case("fixtures/hf_tgi", "text", TGI_TEXT)]
#[case("fixtures/hf_tgi", "tool_calls", TGI_TOOL_CALLS)]
#[case("fixtures/hf_tgi", "tool_call_old", TGI_TOOL_CALL_OLD)]
fn a_stream_of_a_server_gives_the_golden_events(#[case] folder: &str, #[case] name: &str, #[case] bytes: &str) {
    let reply = whole(bytes.as_bytes());
    insta::with_settings!({ snapshot_path => folder, prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_json_snapshot!(format!("{name}_events"), as_json(&reply));
    });
    for length in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(cut_every(bytes.as_bytes(), length), reply, "cut every {length} bytes");
    }
    for line_end in ["\r\n", "\r"] {
        let other = bytes.replace('\n', line_end);
        assert_eq!(whole(other.as_bytes()), reply, "with {line_end:?}");
        assert_eq!(cut_every(other.as_bytes(), 1), reply, "with {line_end:?}, byte by byte");
    }
}

#[rstest]
#[case("fixtures/openai", include_str!("fixtures/openai/completion.json"))]
#[case("fixtures/vllm", include_str!("fixtures/vllm/completion.json"))]
#[case("fixtures/llamacpp", include_str!("fixtures/llamacpp/completion.json"))]
#[case("fixtures/hf_tgi", include_str!("fixtures/hf_tgi/completion.json"))]
fn a_document_of_a_server_gives_the_golden_events(#[case] folder: &str, #[case] body: &str) {
    let events = decode_whole(body.as_bytes(), 1).unwrap();
    let reply: Reply = events.into_iter().map(Ok).collect();
    insta::with_settings!({ snapshot_path => folder, prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_json_snapshot!("completion_events", as_json(&reply));
    });
}

proptest! {
    #[test]
    fn cuts_never_matter(
        fixture in prop::sample::select(ALL.to_vec()),
        end in 0_usize..4000,
        cuts in prop::collection::vec(0_usize..4000, 0..20),
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
}

#[rstest]
#[case::openai(TEXT)]
#[case::calls(TOOL_CALLS)]
#[case::llamacpp(LLAMA_TEXT)]
fn a_stream_cut_off_before_its_end_says_so(#[case] bytes: &str) {
    let finish = bytes.find(r#""finish_reason":"#).and_then(|first| {
        let rest = bytes.get(first..)?;
        ["stop", "tool_calls"]
            .iter()
            .filter_map(|reason| rest.find(&format!(r#""finish_reason":"{reason}""#)))
            .min()
            .map(|at| first + at)
    });
    for end in 1..finish.unwrap() {
        let reply = whole(&bytes.as_bytes()[..end]);
        let first_frame = bytes.find("\n\n").unwrap() + 1;
        let phrase = if end <= first_frame { "empty reply" } else { "stream cut off" };
        assert_eq!(reply.last(), Some(&broken(phrase)), "cut after {end} bytes");
        assert!(reply.iter().all(|event| !matches!(event, Ok(ModelEvent::ToolCall(_)))), "half a call is none");
    }
}

#[rstest]
#[case::nothing("", "empty reply")]
#[case::only_done("data: [DONE]\n\n", "empty reply")]
#[case::only_comments(": ping\n\n: ping\n\n", "empty reply")]
#[case::only_a_role(&frames(&[delta(&json!({"role": "assistant"}))]), "stream cut off")]
#[case::finished_without_a_word(&frames(&[delta(&json!({"content": ""})), finish("stop")]), "empty reply")]
#[case::out_of_tokens(&frames(&[finish("length")]), "empty reply: the token limit was reached before any text")]
#[case::filtered(&frames(&[finish("content_filter")]), "empty reply: the server's content filter withheld it")]
#[case::html("<html>\n<body>\nlogin: here\n", "reply is no event stream")]
#[case::text("internal server error\n", "reply is no event stream")]
#[case::bare_json("{\"choices\": []}\n", "reply is no event stream")]
#[case::data_that_is_not_json("data: {\"choices\": [\n\n", "reply is not JSON")]
#[case::data_that_is_no_object("data: \"hello\"\n\n", "reply is not a completion")]
#[case::empty_data("data:\n\n", "reply is not JSON")]
#[case::a_call_without_a_name(&frames(&[delta(&json!({"tool_calls": [{"index": 0, "id": "a"}]})), finish("tool_calls")]), "tool call without a name")]
fn what_is_no_reply_is_malformed(#[case] bytes: &str, #[case] phrase: &str) {
    assert_eq!(whole(bytes.as_bytes()), [broken(phrase)]);
    assert_eq!(cut_every(bytes.as_bytes(), 1), [broken(phrase)]);
}

#[test]
fn what_came_before_a_broken_line_is_kept() {
    let bytes = frames(&[delta(&json!({"content": "It "}))]) + "\u{0}nonsense\n";
    assert_eq!(whole(bytes.as_bytes()), [text("It "), broken("reply is no event stream")]);
}

#[test]
fn text_that_is_not_utf_8_is_malformed() {
    assert_eq!(whole(b"data: {\"choices\": \"\xff\"}\n\n"), [broken("reply is no event stream")]);
}

#[rstest]
#[case::by_done("data: [DONE]\n\n")]
#[case::by_done_without_a_space("data:[DONE]\n\n")]
#[case::by_a_reason(&frames(&[finish("stop")]))]
#[case::by_an_unknown_reason(&frames(&[finish("eos_token")]))]
#[case::by_both(&(frames(&[finish("stop")]) + "data: [DONE]\n\n"))]
#[case::with_noise_after_done("data: [DONE]\n\ndata: {\"error\": \"late\"}\n\nnoise\n")]
fn a_reply_ends(#[case] end: &str) {
    let bytes = frames(&[delta(&json!({"content": "Hi"}))]) + end;
    assert_eq!(whole(bytes.as_bytes()), [text("Hi")]);
}

#[test]
fn comments_ids_and_empty_deltas_say_nothing() {
    let mut bytes = String::from("\u{feff}: connected\n\nretry: 3000\nid: 1\nevent: message\n");
    bytes += &frames(&[
        delta(&json!({"role": "assistant"})),
        delta(&json!({"content": ""})),
        delta(&json!({"content": null})),
        json!({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": ""}]}),
    ]);
    bytes += ": ping\n\n";
    bytes += &frames(&[
        delta(&json!({"reasoning_content": "Hmm.", "reasoning": "Hmm."})),
        json!({"choices": [{"index": 1, "delta": {"content": "another choice"}}]}),
        json!({"choices": [], "prompt_filter_results": []}),
        json!({"choices": [{"index": 0}]}),
        json!({"choices": null}),
        json!({"choices": [{"delta": {"content": [{"type": "text", "text": " there"}]}}]}),
        finish("stop"),
    ]);
    assert_eq!(whole(bytes.as_bytes()), [text("Hi"), thought("Hmm."), text(" there")]);
}

#[rstest]
#[case::in_pieces(
    &[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
        json!({"index": 0, "function": {"arguments": "{\"x\":"}}),
        json!({"index": 0, "function": {"arguments": " 1}"}}),
    ],
    vec![call("a", "f", json!({"x": 1}))]
)]
#[case::interleaved(
    &[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}}),
        json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{\"y\""}}),
        json!({"index": 0, "function": {"arguments": ": 1}"}}),
        json!({"index": 1, "function": {"arguments": ": 2}"}}),
    ],
    vec![call("a", "f", json!({"x": 1})), call("b", "g", json!({"y": 2}))]
)]
#[case::without_ids(
    &[
        json!({"index": 0, "function": {"name": "f", "arguments": "{}"}}),
        json!({"index": 1, "id": "", "function": {"name": "g", "arguments": "{}"}}),
        json!({"index": 2, "id": null, "function": {"name": "h", "arguments": "{}"}}),
    ],
    vec![call("call_1", "f", json!({})), call("call_2", "g", json!({})), call("call_3", "h", json!({}))]
)]
#[case::made_up_ids_make_way_for_real_ones(
    &[
        json!({"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}),
        json!({"index": 1, "function": {"name": "g", "arguments": "{}"}}),
    ],
    vec![call("call_1", "f", json!({})), call("call_2", "g", json!({}))]
)]
#[case::one_id_for_two(
    &[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
        json!({"index": 1, "id": "a", "function": {"name": "g", "arguments": "{}"}}),
    ],
    vec![call("a", "f", json!({})), call("call_1", "g", json!({}))]
)]
#[case::arguments_as_an_object(
    &[json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}})],
    vec![call("a", "f", json!({"x": 1}))]
)]
#[case::no_arguments(
    &[json!({"index": 0, "id": "a", "function": {"name": "f"}})],
    vec![call("a", "f", json!({}))]
)]
#[case::arguments_that_are_not_json(
    &[json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\": "}})],
    vec![call("a", "f", json!("{\"x\": "))]
)]
#[case::the_name_repeated_with_each_piece(
    &[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}}),
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ": 1}"}}),
    ],
    vec![call("a", "f", json!({"x": 1}))]
)]
#[case::a_fresh_id_with_each_piece(
    &[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}}),
        json!({"index": 0, "id": "b", "function": {"arguments": ": 1}"}}),
    ],
    vec![call("a", "f", json!({"x": 1}))]
)]
#[case::all_under_one_index(
    &[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
        json!({"index": 0, "id": "b", "function": {"name": "f", "arguments": "{}"}}),
    ],
    vec![call("a", "f", json!({})), call("b", "f", json!({}))]
)]
#[case::without_an_index(
    &[
        json!({"id": "a", "function": {"name": "f", "arguments": "{\"x\""}}),
        json!({"function": {"arguments": ": 1}"}}),
        json!({"function": {"name": "g", "arguments": "{}"}}),
    ],
    vec![call("a", "f", json!({"x": 1})), call("call_1", "g", json!({}))]
)]
fn tool_calls_are_put_together(#[case] pieces: &[Value], #[case] expected: Reply) {
    assert_eq!(calling(pieces), expected);
}

#[test]
fn tool_calls_come_whole_when_only_done_ends_the_stream() {
    let piece = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    let bytes = frames(&[delta(&piece)]) + "data: [DONE]\n\n";
    assert_eq!(whole(bytes.as_bytes()), [call("a", "f", json!({}))]);
}

#[test]
fn text_and_calls_keep_their_order() {
    let piece = json!({"content": "One moment.", "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    let bytes = frames(&[delta(&piece), finish("tool_calls")]);
    assert_eq!(whole(bytes.as_bytes()), [text("One moment."), call("a", "f", json!({}))]);
}

#[test]
fn made_up_ids_begin_where_the_conversation_says() {
    let piece = json!({"tool_calls": [{"index": 0, "function": {"name": "f"}}]});
    let bytes = Bytes::from(frames(&[delta(&piece), finish("tool_calls")]));
    let reply: Reply = decode(stream::iter([Ok(bytes)]), 8).collect().now_or_never().unwrap();
    assert_eq!(reply, [call("call_8", "f", json!({}))]);
}

#[rstest]
#[case::openai(json!({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}}), 4)]
#[case::llama_cpp(json!({"usage": {"prompt_tokens": 9, "completion_tokens": 2}, "timings": {"cache_n": 5}}), 5)]
#[case::no_details(json!({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": null}}), 0)]
fn tokens_are_as_the_server_counts_them(#[case] frame: Value, #[case] cached: u64) {
    let bytes = frames(&[delta(&json!({"content": "Hi"})), finish("stop"), frame]) + "data: [DONE]\n\n";
    let tokens = Tokens { input: 9, output: 2, cached };
    assert_eq!(whole(bytes.as_bytes()), [text("Hi"), Ok(ModelEvent::Tokens(tokens))]);
}

#[test]
fn what_an_empty_reply_used_is_told() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}});
    let reply = whole(frames(&[finish("length"), usage]).as_bytes());
    assert_eq!(reply.first(), Some(&Ok(ModelEvent::Tokens(Tokens { input: 9, output: 2, cached: 0 }))));
    assert_eq!(reply.len(), 2);
}

#[rstest]
#[case::as_data(&frames(&[json!({"error": {"code": 503, "message": "busy"}})]), ModelErrorKind::Unavailable, "503")]
#[case::as_an_event(
    "event: error\ndata: {\"code\": 503, \"message\": \"busy\"}\n\n",
    ModelErrorKind::Unavailable,
    "503"
)]
#[case::as_text("event: error\ndata: busy\n\n", ModelErrorKind::Unavailable, "error instead of a reply")]
#[case::rejected(&frames(&[json!({"error": {"code": 400, "message": "too long"}})]), ModelErrorKind::Rejected, "400: too long")]
fn an_error_within_the_stream_ends_it(#[case] error: &str, #[case] kind: ModelErrorKind, #[case] message: &str) {
    let bytes = frames(&[delta(&json!({"content": "Hi"}))]) + error + &frames(&[delta(&json!({"content": "more"}))]);
    assert_eq!(whole(bytes.as_bytes()), [text("Hi"), Err(ModelError::new(kind, message))]);
}

#[test]
fn a_broken_connection_breaks_the_reply_unless_it_was_whole() {
    let reset = || Err(ModelError::new(ModelErrorKind::Unavailable, "connection reset"));
    let hi = Bytes::from(frames(&[delta(&json!({"content": "Hi"}))]));
    let end = Bytes::from(frames(&[finish("stop")]));
    assert_eq!(
        reply_of(vec![Ok(hi.clone()), reset()]),
        [text("Hi"), Err(ModelError::new(ModelErrorKind::Unavailable, "connection reset"))]
    );
    assert_eq!(reply_of(vec![Ok(hi), Ok(end), reset()]), [text("Hi")]);
}

#[rstest]
#[case::one_line("")]
#[case::many_lines("\ndata: ")]
#[case::many_lines_with_crlf("\r\ndata: ")]
#[case::comments("\n: ")]
fn an_event_is_bounded(#[case] between: &str) {
    let bytes = format!("data: {}", format!("{}{between}", "x".repeat(1000)).repeat(EVENT_BYTES_MAX / 1000 + 1));
    assert_eq!(whole(bytes.as_bytes()), [broken("event too large")]);
    assert_eq!(cut_every(bytes.as_bytes(), 1500), [broken("event too large")]);
}

#[test]
fn an_event_below_the_bound_passes() {
    let long = "x".repeat(EVENT_BYTES_MAX - 1000);
    let bytes = frames(&[delta(&json!({"content": long})), delta(&json!({"content": long})), finish("stop")]);
    assert_eq!(whole(bytes.as_bytes()), [text(&long), text(&long)]);
}

#[test]
fn a_server_may_ping_for_long() {
    let pings = Bytes::from(": ping\r\n\r\n".repeat(EVENT_BYTES_MAX / 5));
    let reply = reply_of(vec![Ok(pings), Ok(Bytes::from(frames(&[delta(&json!({"content": "Hi"})), finish("stop")])))]);
    assert_eq!(reply, [text("Hi")]);
}

/// A document of 14 MiB of zeros would else take half a gigabyte.
#[rstest]
#[case::beside_the_reply(|zeros: &str| format!(r#"{{"x": [{zeros}], "choices": []}}"#), "reply too large")]
#[case::as_content(|zeros: &str| format!(r#"{{"choices": [{{"message": {{"content": [{zeros}]}}}}]}}"#), "reply too large")]
#[case::as_an_error(|zeros: &str| format!(r#"{{"error": [{zeros}]}}"#), "reply too large")]
#[case::as_arguments(
    |zeros: &str| format!(r#"{{"choices": [{{"message": {{"tool_calls": [{{"function": {{"name": "f", "arguments": {{"a": [{zeros}]}}}}}}]}}}}]}}"#),
    "reply too large"
)]
fn a_document_of_megabytes_of_values_is_refused(#[case] body: fn(&str) -> String, #[case] phrase: &str) {
    let zeros = format!("{}0", "0,".repeat(7 << 20));
    assert_eq!(decode_whole(body(&zeros).as_bytes(), 1), Err(malformed(phrase)));
}

#[test]
fn arguments_of_too_many_values_stay_text_for_the_schema_to_refuse() {
    let zeros = format!("[{}0]", "0,".repeat(100_000));
    let message = json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": zeros.clone()}}]});
    let events = decode_whole(json!({"choices": [{"message": message}]}).to_string().as_bytes(), 1).unwrap();
    assert_eq!(events.into_iter().map(Ok).collect::<Vec<_>>(), [call("a", "f", Value::String(zeros))]);
}

#[rstest]
#[case::a_huge_index(json!({"index": 4_000_000_000_u64, "id": "a", "function": {"name": "f", "arguments": "{}"}}), Ok(("a", "f")))]
#[case::a_negative_index(json!({"index": -1, "id": "a", "function": {"name": "f", "arguments": "{}"}}), Ok(("a", "f")))]
#[case::a_long_id(json!({"id": "x".repeat(1 << 19), "function": {"name": "f", "arguments": "{}"}}), Ok(("call_1", "f")))]
#[case::a_long_name(json!({"id": "a", "function": {"name": "x".repeat(1 << 19)}}), Err("tool call with a name that is too long"))]
fn absurd_calls_do_no_harm(#[case] piece: Value, #[case] expected: Result<(&str, &str), &str>) {
    let expected = expected.map_or_else(broken, |(id, name)| call(id, name, json!({})));
    assert_eq!(calling(&[piece]), [expected]);
}

#[test]
fn a_million_chunks_that_say_nothing_say_nothing() {
    let chunk = frames(&[delta(&json!({"content": ""}))]);
    let stream = format!("{}{}", chunk.repeat(100_000), frames(&[delta(&json!({"content": "x"})), finish("stop")]));
    assert_eq!(whole(stream.as_bytes()), [text("x")]);
}

#[test]
fn a_stream_is_bounded() {
    let piece = Bytes::from(frames(&[json!({"padding": "x".repeat(EVENT_BYTES_MAX / 2)})]));
    let pieces = std::iter::repeat_n(Ok(piece), STREAM_BYTES_MAX / (EVENT_BYTES_MAX / 2) + 1).collect();
    assert_eq!(reply_of(pieces), [broken("reply too large")]);
}

#[test]
fn tool_calls_are_bounded() {
    let many: Vec<_> = (0..129).map(|index| json!({"index": index, "function": {"name": "f"}})).collect();
    assert_eq!(calling(&many), [broken("too many tool calls")]);
    let large = json!({"index": 0, "function": {"name": "f", "arguments": "x".repeat(EVENT_BYTES_MAX / 2)}});
    assert_eq!(calling(&vec![large; 9]), [broken("tool calls too large")]);
}

#[rstest]
#[case::not_json("<html>", ModelErrorKind::Malformed, "reply is not JSON")]
#[case::nothing("", ModelErrorKind::Malformed, "reply is not JSON")]
#[case::not_an_object("[]", ModelErrorKind::Malformed, "reply is not a completion")]
#[case::an_empty_object("{}", ModelErrorKind::Malformed, "empty reply")]
#[case::no_words(r#"{"choices": [{"message": {"content": ""}}]}"#, ModelErrorKind::Malformed, "empty reply")]
#[case::an_error(r#"{"error": {"code": 429, "message": "slow down"}}"#, ModelErrorKind::RateLimited, "429")]
fn a_document_that_is_no_reply_is_an_error(#[case] body: &str, #[case] kind: ModelErrorKind, #[case] message: &str) {
    assert_eq!(decode_whole(body.as_bytes(), 1), Err(ModelError::new(kind, message)));
}

#[rstest]
#[case::length("length", Some(FinishReason::Length))]
#[case::filtered("content_filter", Some(FinishReason::ContentFilter))]
#[case::stop("stop", None)]
#[case::unknown("eos_token", None)]
fn a_reply_that_was_cut_short_says_so_at_its_end(#[case] reason: &str, #[case] expected: Option<FinishReason>) {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}});
    let bytes = frames(&[delta(&json!({"content": "Hi"})), finish(reason), usage]) + "data: [DONE]\n\n";
    let mut expected_events = vec![text("Hi"), Ok(ModelEvent::Tokens(Tokens { input: 9, output: 2, cached: 0 }))];
    expected_events.extend(expected.map(|reason| Ok(ModelEvent::Finish(reason))));
    assert_eq!(whole(bytes.as_bytes()), expected_events);
}

#[test]
fn thoughts_alone_are_no_reply() {
    let bytes = frames(&[delta(&json!({"reasoning": "Hmm."})), finish("length")]);
    let phrase = "empty reply: the token limit was reached before any text";
    assert_eq!(whole(bytes.as_bytes()), [thought("Hmm."), broken(phrase)]);
}

#[rstest]
#[case::the_data_error_of_vllm(
    r#"{"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}"#,
    ModelErrorKind::Rejected,
    "400: too long"
)]
#[case::newer_vllm(
    r#"{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}"#,
    ModelErrorKind::Rejected,
    "400: too long"
)]
#[case::tgi_validation(
    r#"{"error": "too long", "error_type": "validation"}"#,
    ModelErrorKind::Rejected,
    "error instead of a reply: too long"
)]
#[case::tgi_generation(
    r#"{"error": "out of memory", "error_type": "generation"}"#,
    ModelErrorKind::Unavailable,
    "error instead of a reply"
)]
fn each_servers_error_ends_the_stream(#[case] error: &str, #[case] kind: ModelErrorKind, #[case] message: &str) {
    let bytes = format!("{}data: {error}\n\n", frames(&[delta(&json!({"content": "Hi"}))]));
    assert_eq!(whole(bytes.as_bytes()), [text("Hi"), Err(ModelError::new(kind, message))]);
    assert_eq!(cut_every(bytes.as_bytes(), 1), [text("Hi"), Err(ModelError::new(kind, message))]);
}

/// The frames of a fixture, each with the empty line behind it.
fn frames_of(fixture: &str) -> Vec<String> {
    fixture.split_inclusive("\n\n").map(str::to_owned).collect()
}

#[test]
fn a_stream_that_ends_at_any_frame_gives_a_beginning_of_the_reply() {
    for fixture in ALL {
        let (frames, full) = (frames_of(fixture), whole(fixture.as_bytes()));
        for end in 0..frames.len() {
            let reply = whole(frames[..end].concat().as_bytes());
            let told = reply.iter().take_while(|event| event.is_ok()).count();
            // What comes at the end of a reply stands behind its last words.
            let words = |event: &&Result<ModelEvent, ModelError>| {
                !matches!(event, Ok(ModelEvent::Finish(_) | ModelEvent::Tokens(_)))
            };
            let (said, all): (Vec<_>, Vec<_>) =
                (reply[..told].iter().filter(words).collect(), full.iter().filter(words).collect());
            assert_eq!(said, all[..said.len()], "after {end} frames");
            assert!(reply.iter().rev().skip(1).all(Result::is_ok), "an error is the last that is heard");
        }
    }
}

proptest! {
    #[test]
    fn repeated_and_shuffled_frames_give_a_reply_or_an_error(
        fixture in prop::sample::select(ALL.to_vec()),
        order in prop::collection::vec(0_usize..64, 0..80),
        cut in 1_usize..200,
    ) {
        let frames = frames_of(fixture);
        let bytes: String = order.iter().map(|at| frames[at % frames.len()].as_str()).collect();
        let reply = whole(bytes.as_bytes());
        prop_assert!(reply.iter().rev().skip(1).all(Result::is_ok));
        prop_assert!(!reply.is_empty(), "neither words nor an error");
        prop_assert_eq!(&cut_every(bytes.as_bytes(), cut), &reply);
        let mut ids: Vec<_> = reply.iter().filter_map(|event| match event {
            Ok(ModelEvent::ToolCall(call)) => Some(&call.id),
            _ => None,
        }).collect();
        let calls = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), calls, "each call has an id of its own");
    }
}
