//! What is kept of a turn: it comes back with each later turn of its session, and in every page of its history.

use crate::byte_pool::weight::{of_message, of_turn};
use crate::memory::StoredTurn;
use crate::message::{Message, Role};

/// The most bytes that JSON writes for a byte of a text.
const ESCAPED: usize = 6;

/// Takes the place of images that are not kept.
const IMAGES_GONE: &str = "\n\n[images were sent with this message; they are too large to be kept]";

/// Takes the place of the rest of a text.
const REST_GONE: &str = "\n\n[the rest is too long to be kept]";

/// The turn within about so many bytes, in memory and as text: first its images go, then what was done between question
/// and answer, then the ends of these two.
pub(super) fn within(mut turn: StoredTurn, bytes_max: usize) -> StoredTurn {
    if is_within(&turn, bytes_max) {
        return turn;
    }
    for message in turn.messages.iter_mut().filter(|message| !message.images.is_empty()) {
        message.images.clear();
        message.content.push_str(IMAGES_GONE);
    }
    if !is_within(&turn, bytes_max) {
        // Calls of tools and their results go together: models take neither alone.
        turn.messages.retain(|message| message.role != Role::Tool && message.tool_calls.is_empty());
    }
    let each = bytes_max / turn.messages.len().max(1);
    for message in turn.messages.iter_mut().filter(|message| of_message(message) + escapes(message) > each) {
        message.reasoning = None;
        shorten(&mut message.content, each);
    }
    turn
}

/// Whether it is, looked at closely only where it may not be.
fn is_within(turn: &StoredTurn, bytes_max: usize) -> bool {
    let weight = of_turn(turn);
    let surely = weight.saturating_mul(ESCAPED) <= bytes_max;
    surely || weight + turn.messages.iter().map(escapes).sum::<usize>() <= bytes_max
}

/// What the texts of a message take more in JSON than in memory.
fn escapes(message: &Message) -> usize {
    let texts = [Some(&message.content), message.reasoning.as_ref()];
    texts.into_iter().flatten().flat_map(|text| text.bytes()).map(|byte| written(byte) - 1).sum()
}

/// The bytes that JSON writes for a byte of a text, at most.
fn written(byte: u8) -> usize {
    match byte {
        0..0x20 => ESCAPED,
        b'"' | b'\\' => 2,
        _ => 1,
    }
}

fn shorten(text: &mut String, bytes_max: usize) {
    let mut total = 0;
    let over = text.bytes().position(|byte| {
        total += written(byte);
        total > bytes_max
    });
    if let Some(end) = over {
        text.truncate(text.floor_char_boundary(end));
        text.push_str(REST_GONE);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::message::ToolCall;

    const MOST: usize = 60_000;

    fn turn(messages: Vec<Message>) -> StoredTurn {
        StoredTurn { messages, timestamp: "2026-01-01T00:00:00.000Z".to_owned(), agent: None }
    }

    fn asked(text: &str) -> Message {
        Message::new(Role::User, text)
    }

    fn answered(text: &str) -> Message {
        Message::new(Role::Assistant, text)
    }

    fn with_image(bytes: usize) -> Message {
        Message { images: vec!["i".repeat(bytes)], ..asked("look") }
    }

    fn calling(arguments: usize) -> Message {
        let arguments = json!({"text": "a".repeat(arguments)});
        let call = ToolCall { id: "c".to_owned(), name: "t".to_owned(), arguments };
        Message { tool_calls: vec![call], ..answered("") }
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let said = turn(vec![with_image(20_000), calling(9_000), Message::tool_result("c", "r"), answered("seen")]);
        assert_eq!(within(said.clone(), MOST), said);
    }

    #[rstest]
    #[case::an_image(vec![with_image(70_000), answered("seen")], &["look", "seen"])]
    #[case::a_question(vec![asked(&"q".repeat(70_000)), answered("yes")], &["q", "yes"])]
    #[case::an_answer(vec![asked("tell me"), answered(&"a".repeat(70_000))], &["tell me", "a"])]
    #[case::both(vec![asked(&"q".repeat(70_000)), answered(&"\u{1f642}".repeat(70_000))], &["q", "\u{1f642}"])]
    #[case::a_result(vec![asked("do"), calling(10), Message::tool_result("c", "r".repeat(70_000)), answered("done")], &["do", "done"])]
    #[case::a_call(vec![asked("do"), calling(70_000), Message::tool_result("c", "r"), answered("done")], &["do", "done"])]
    #[case::what_json_writes_long(vec![asked(&"\0".repeat(30_000)), answered(&"\"".repeat(50_000))], &["\0", "\""])]
    fn what_does_not_is_cut_to_what_was_asked_and_answered(#[case] messages: Vec<Message>, #[case] begins: &[&str]) {
        let kept = within(turn(messages), MOST);
        let texts: Vec<_> = kept.messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(texts.len(), begins.len());
        assert!(texts.iter().zip(begins).all(|(text, begin)| text.starts_with(begin)), "{texts:?}");
        assert!(serde_json::to_string(&kept).unwrap().len() < MOST + 1_000);
        assert!(kept.messages.iter().all(|message| message.images.is_empty() && message.tool_calls.is_empty()));
    }

    #[test]
    fn only_what_is_too_long_is_cut() {
        let kept = within(turn(vec![asked(&"q".repeat(70_000)), answered("a short answer")]), MOST);
        assert_eq!(kept.messages[1].content, "a short answer");
        assert!(kept.messages[0].content.ends_with(REST_GONE) && kept.messages[0].content.len() > MOST / 3);
    }
}
