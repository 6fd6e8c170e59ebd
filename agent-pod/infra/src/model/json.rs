//! JSON of model servers, with a bound on its values: a server's reply of megabytes of `[0,0,…` would else take some forty
//! times its bytes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most values of one document, or of the arguments of all tool calls of a reply. Each takes up to a hundred bytes beside
/// its text.
pub(super) const VALUES_MAX: usize = 50_000;

/// Parses a document of at most [`VALUES_MAX`] values.
///
/// # Errors
/// When it is no JSON; or, as an error of data, when it has more values.
pub(super) fn document(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut left = VALUES_MAX;
    parse(bytes, &mut left)
}

/// Parses a document, taking its values from those that are `left`.
///
/// # Errors
/// When it is no JSON; or, as an error of data, when it has more values.
pub(super) fn parse(bytes: &[u8], left: &mut usize) -> Result<Value, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Bounded(left).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// Takes the values of one that has been parsed from those that are `left`; `false` if they are not enough.
pub(super) fn take(value: &Value, left: &mut usize) -> bool {
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        let Some(fewer) = left.checked_sub(1) else { return false };
        *left = fewer;
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(members) => waiting.extend(members.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    true
}

/// One value, and how many there may be.
struct Bounded<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        *self.0 = left;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Bounded(&mut *self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            object.insert(name, members.next_value_seed(Bounded(&mut *self.0))?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_of_too_many_values_is_no_document() {
        let zeros = format!("[{}0]", "0,".repeat(1_000_000));
        let mut left = VALUES_MAX;
        assert!(parse(zeros.as_bytes(), &mut left).unwrap_err().is_data());
        assert_eq!(left, 0);
        assert!(parse(b"[0", &mut 10).unwrap_err().is_eof());
        assert!(parse(b"0 1", &mut 10).unwrap_err().is_syntax());
        assert!(!take(&json!([1, [2]]), &mut 3) && take(&json!([1, [2]]), &mut 4));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(".*", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn within_the_bound_it_is_what_any_parser_makes_of_it(value in value()) {
            let text = value.to_string();
            let mut left = VALUES_MAX;
            prop_assert_eq!(parse(text.as_bytes(), &mut left).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
            let mut again = VALUES_MAX;
            prop_assert!(take(&value, &mut again));
            prop_assert_eq!(left, again);
        }
    }
}
