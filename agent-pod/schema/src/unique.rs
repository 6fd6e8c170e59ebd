//! The keyword `uniqueItems`, in a time that the sender of a list has no hand in: the hashes of the validator's own one
//! agree for different numbers and lists that can be chosen, and those it compares with each other.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use jsonschema::{Keyword, ValidationError};
use serde_json::{Number, Value};

/// Whether the items of a list must differ.
pub(crate) struct UniqueItems(bool);

impl UniqueItems {
    pub(crate) fn of(said: &Value) -> Self {
        Self(said.as_bool().unwrap_or_default())
    }
}

impl<'i> Keyword<'i> for UniqueItems {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) { Ok(()) } else { Err(ValidationError::custom("the value has non-unique elements")) }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        !self.0 || instance.as_array().is_none_or(|items| are_unique(items))
    }
}

fn are_unique(items: &[Value]) -> bool {
    let keys = RandomState::new();
    let mut hashed: Vec<(u64, &Value)> = items.iter().map(|item| (hash(&keys, item), item)).collect();
    hashed.sort_unstable_by_key(|(hash, _)| *hash);
    // Items of one hash are equal, or it is a chance of one to many billions; so each is only held against the others of it.
    hashed.chunk_by(|(one, _), (other, _)| one == other).all(|same| {
        let mut pairs =
            same.iter().enumerate().flat_map(|(index, one)| same.iter().skip(index + 1).map(move |other| (one, other)));
        !pairs.any(|((_, one), (_, other))| equal(one, other))
    })
}

fn hash(keys: &RandomState, value: &Value) -> u64 {
    let mut state = keys.build_hasher();
    feed(keys, value, &mut state);
    state.finish()
}

/// Kinds and lengths are part of it, so that no two different values feed the same.
fn feed(keys: &RandomState, value: &Value, state: &mut impl Hasher) {
    match value {
        Value::Null => state.write_u8(0),
        Value::Bool(said) => (1_u8, said).hash(state),
        Value::Number(number) => (2_u8, exact(number)).hash(state),
        Value::String(text) => (3_u8, text).hash(state),
        Value::Array(items) => {
            (4_u8, items.len()).hash(state);
            items.iter().for_each(|item| feed(keys, item, state));
        }
        Value::Object(members) => {
            // In whatever order: the names differ, and with them the hashes.
            let sum = members.iter().fold(0_u64, |sum, (name, member)| {
                let mut state = keys.build_hasher();
                name.hash(&mut state);
                feed(keys, member, &mut state);
                sum.wrapping_add(state.finish())
            });
            (5_u8, members.len(), sum).hash(state);
        }
    }
}

/// As JSON Schema has it: numbers by their worth, objects in any order.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => exact(one) == exact(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(name, member): (&String, &Value)| other.get(name).is_some_and(|other| equal(member, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _scalars => one == other,
    }
}

/// What a number is worth, in one form only: the bits of a fraction where that holds it, else those of a whole number.
#[derive(PartialEq, Eq, Hash)]
enum Exact {
    Fraction(u64),
    Whole { negative: bool, size: u64 },
}

fn exact(number: &Number) -> Exact {
    let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    let negative = number.as_i64().is_some_and(i64::is_negative);
    match whole {
        Some(size) if digits(size) > f64::MANTISSA_DIGITS => Exact::Whole { negative, size },
        _fits => {
            // Nothing and less than nothing by nothing are the same.
            let value = number.as_f64().filter(|value| *value != 0.0).unwrap_or_default();
            Exact::Fraction(value.to_bits())
        }
    }
}

/// The binary digits from the first one to the last one that is set.
fn digits(size: u64) -> u32 {
    u64::BITS.saturating_sub(size.leading_zeros()).saturating_sub(size.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!([1, 1.0]), false)]
    #[case(json!([0, -0.0]), false)]
    #[case(json!([1, true, "1", null, [1], {"1": 1}]), true)]
    #[case(json!([false, 0, "", null, [], {}]), true)]
    #[case(json!([{"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}]), false)]
    #[case(json!([{"a": 1, "b": 2}, {"a": 2, "b": 1}]), true)]
    #[case(json!([[[1], 2], [1, [2]], [[1, 2]]]), true)]
    #[case(json!([9_007_199_254_740_992_u64, 9_007_199_254_740_993_u64]), true)]
    #[case(json!([9_007_199_254_740_992_u64, 9_007_199_254_740_992.0]), false)]
    #[case(json!([i64::MIN, 9_223_372_036_854_775_808_u64, -9_223_372_036_854_775_807_i64]), true)]
    #[case(json!([i64::MIN, -9_223_372_036_854_775_808.0]), false)]
    #[case(json!([u64::MAX, 18_446_744_073_709_551_616.0]), true)]
    #[case(json!([1.5, 2.5, 1.5]), false)]
    #[case(json!("no list, no list"), true)]
    fn items_differ_by_what_they_are_worth(#[case] value: Value, #[case] unique: bool) {
        assert_eq!(UniqueItems(true).is_valid(&value), unique);
        assert!(UniqueItems(false).is_valid(&value));
        let own = jsonschema::validator_for(&json!({"uniqueItems": true})).unwrap();
        assert_eq!(own.is_valid(&value), unique, "the validator's own keyword says otherwise");
    }
}
