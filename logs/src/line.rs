//! How long a line may be.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The longest line: what containerd and the collectors of logs take without cutting it themselves.
const BYTES_MAX: usize = 16 * 1024;

/// The longest text in an object that is too long as a whole.
const TEXT_BYTES_MAX: usize = 2 * 1024;

/// The fields that are left of an object with too many of them.
const ESSENTIAL: [&str; 4] = ["timestamp", "level", "target", "message"];

/// The line itself, or what is left of one that is too long: an object stays an object, whose texts are cut.
pub(crate) fn cut(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(line);
    let short = match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => object(fields),
        Ok(_) | Err(_) => shortened(text.trim_end_matches('\n'), BYTES_MAX - 64),
    };
    Cow::Owned(format!("{short}\n").into_bytes())
}

/// The number of lines.
pub(crate) fn count(lines: &[u8]) -> u64 {
    u64::try_from(lines.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u64::MAX)
}

fn object(mut fields: Map<String, Value>) -> String {
    fields.values_mut().for_each(shorten);
    let whole = Value::Object(fields).to_string();
    if whole.len() <= BYTES_MAX {
        return whole;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&whole) else { return String::new() };
    fields.retain(|name, _| ESSENTIAL.contains(&name.as_str()));
    fields.insert("cut".to_owned(), Value::Bool(true));
    Value::Object(fields).to_string()
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => *text = shortened(text, TEXT_BYTES_MAX),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The beginning of a text, and a mark that says how much is missing.
fn shortened(text: &str, bytes_max: usize) -> String {
    let kept = text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default();
    format!("{kept}… [{} more bytes]", text.len() - kept.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_the_usual_length_stays_as_it_is() {
        assert!(matches!(cut(b"{\"message\": \"ok\"}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_object_stays_one() {
        let line = format!("{}\n", json!({"level": "WARN", "cause": "é".repeat(500_000), "message": "failed"}));
        let short = cut(line.as_bytes()).into_owned();
        assert!(short.len() < BYTES_MAX && short.ends_with(b"}\n"));
        let value: Value = serde_json::from_slice(&short).unwrap();
        assert_eq!((&value["level"], &value["message"]), (&json!("WARN"), &json!("failed")));
        assert!(value["cause"].as_str().unwrap().ends_with("é… [997952 more bytes]"), "{value}");
    }

    #[test]
    fn of_an_object_with_too_many_fields_the_essential_ones_are_left() {
        let mut fields: Map<String, Value> = (0..2_000).map(|i| (format!("field{i}"), json!("0123456789"))).collect();
        fields.insert("message".to_owned(), json!("failed"));
        let line = format!("{}\n", Value::Object(fields));
        assert_eq!(cut(line.as_bytes()).into_owned(), b"{\"message\":\"failed\",\"cut\":true}\n");
    }

    #[test]
    fn text_is_cut_between_characters() {
        let short = cut("é".repeat(20_000).as_bytes()).into_owned();
        let short = String::from_utf8(short).unwrap();
        assert!(short.len() <= BYTES_MAX && short.ends_with("é… [23680 more bytes]\n"), "{}", short.len());
    }
}
