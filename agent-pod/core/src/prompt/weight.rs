//! How much there is to go through in variables.

use serde_json::{Map, Value};

/// Bytes of a text that weigh as much as a value: texts are copied and compared many bytes at a time.
pub(super) const BYTES: usize = 128;

/// The weight of variables, counted up to `enough`.
pub(super) fn of(variables: &Map<String, Value>, enough: usize) -> usize {
    let mut weight = 0;
    let mut open: Vec<&Value> = Vec::new();
    for (name, value) in variables {
        weight += 1 + name.len() / BYTES;
        open.push(value);
        while let Some(value) = open.pop() {
            if weight >= enough {
                return weight;
            }
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => weight += 1,
                Value::String(text) => weight += 1 + text.len() / BYTES,
                Value::Array(items) if items.len() >= enough => return enough,
                Value::Array(items) => {
                    weight += 1;
                    open.extend(items);
                }
                Value::Object(fields) if fields.len() >= enough => return enough,
                Value::Object(fields) => {
                    weight += 1 + fields.keys().map(|name| name.len() / BYTES).sum::<usize>();
                    open.extend(fields.values());
                }
            }
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_and_every_128_bytes_weigh_one() {
        let variables = Map::from_iter([
            ("a".to_owned(), json!([1, {"b": null}, "x".repeat(4 * BYTES)])),
            ("c".to_owned(), json!(true)),
        ]);
        // Two names; the list, the number, the map and what is in it, the text with its four times 128 bytes; the flag.
        assert_eq!(of(&variables, 1000), 2 + 1 + 1 + 2 + 5 + 1);
        assert_eq!(of(&variables, 3), 3);
        assert_eq!(of(&Map::from_iter([("a".to_owned(), json!(vec![0; 50]))]), 10), 10);
    }
}
