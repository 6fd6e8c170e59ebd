//! Results that are too long for the model, cut so that it sees that something is missing.

use serde_json::Value;

use crate::model::estimate::text_tokens;

/// Characters of a token, as the estimate has them.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// Tokens kept back for the marker.
const MARKER_TOKENS: u64 = 16;

/// The result within a budget, and whether it was cut.
///
/// A list, or the longest list of an object, loses entries from its tail and stays valid JSON; other text ends with a
/// marker.
#[must_use]
pub fn cut(result: String, tokens_max: u64) -> (String, bool) {
    if text_tokens(&result) <= tokens_max {
        return (result, false);
    }
    let room = tokens_max.saturating_sub(MARKER_TOKENS).max(1).saturating_mul(CHARACTERS_PER_TOKEN);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let shortened = serde_json::from_str(&result).ok().and_then(|value| shortened(value, room));
    (shortened.unwrap_or_else(|| cut_text(&result, room)), true)
}

fn cut_text(text: &str, room: usize) -> String {
    let kept: String = text.chars().take(room).collect();
    let left_out = text.chars().count() - kept.chars().count();
    format!("{kept}… [cut: {left_out} more characters]")
}

/// None where there is no list that could be shortened enough.
fn shortened(value: Value, room: usize) -> Option<String> {
    match value {
        Value::Array(entries) => list_within(entries, room).map(|entries| Value::Array(entries).to_string()),
        Value::Object(mut fields) => {
            let longest = fields
                .iter()
                .filter(|(_, value)| value.is_array())
                .max_by_key(|(_, value)| value.to_string().len())
                .map(|(name, _)| name.clone())?;
            let Some(Value::Array(entries)) = fields.insert(longest.clone(), Value::Array(Vec::new())) else {
                return None;
            };
            let around = characters(&Value::Object(fields.clone()));
            let entries = list_within(entries, room.checked_sub(around)?)?;
            fields.insert(longest, Value::Array(entries));
            Some(Value::Object(fields).to_string())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The entries from the head that fit, with a marker after them; none where not even the first does.
fn list_within(mut entries: Vec<Value>, room: usize) -> Option<Vec<Value>> {
    let all = entries.len();
    let mut used = 2;
    let fitting = entries
        .iter()
        .take_while(|entry| {
            used += characters(entry) + 1;
            used <= room
        })
        .count();
    if fitting == 0 {
        return None;
    }
    entries.truncate(fitting);
    if fitting < all {
        entries.push(Value::String(format!("… [cut: {} more entries]", all - fitting)));
    }
    Some(entries)
}

fn characters(value: &Value) -> usize {
    value.to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(cut("short".to_owned(), 100), ("short".to_owned(), false));
    }

    #[test]
    fn text_ends_with_a_marker() {
        let (text, truncated) = cut("ä".repeat(1000), 36);
        assert!(truncated);
        assert_eq!(text, format!("{}… [cut: 920 more characters]", "ä".repeat(80)));
    }

    #[test]
    fn a_list_loses_its_tail_and_stays_json() {
        let orders: Vec<_> = (0..100).map(|id| json!({"id": id})).collect();
        let (text, truncated) = cut(Value::Array(orders.clone()).to_string(), 41);
        let cut: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(truncated);
        assert_eq!(cut[0], orders[0]);
        assert_eq!(cut.last().unwrap(), &json!("… [cut: 90 more entries]"));
        assert_eq!(cut.len(), 11);
    }

    #[test]
    fn the_longest_list_of_an_object_is_shortened() {
        let result = json!({"total": 100, "tags": ["a"], "orders": (0..100).collect::<Vec<_>>()}).to_string();
        let (text, _) = cut(result, 40);
        let cut: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&cut["total"], &cut["tags"]), (&json!(100), &json!(["a"])));
        let orders = cut["orders"].as_array().unwrap();
        assert!(orders.len() > 2 && orders.last().unwrap().as_str().unwrap().ends_with("more entries]"), "{text}");
    }

    proptest! {
        #[test]
        fn a_result_is_never_longer_than_its_budget(text in ".{0,4000}", tokens in 20_u64..500) {
            let (cut, truncated) = cut(text.clone(), tokens);
            prop_assert!(text_tokens(&cut) <= tokens, "{}", cut);
            prop_assert_eq!(truncated, cut != text);
        }

        #[test]
        fn a_list_is_never_longer_than_its_budget(list in prop::collection::vec(".{0,40}", 0..200), tokens in 20_u64..500) {
            let (cut, _) = cut(json!(list).to_string(), tokens);
            prop_assert!(text_tokens(&cut) <= tokens, "{}", cut);
        }
    }
}
