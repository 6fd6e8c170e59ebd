//! What a subschema asks of a place of a value, counted in looks.

use serde_json::{Map, Value};

/// So many bytes of a name or a text are looked up or compared in the time of one look.
pub(crate) const BYTES_OF_LOOK: u64 = 32;

/// A value in a list whose items must differ is hashed and sorted in the time of so many looks.
pub(crate) const VALUE_HASHED: u64 = 4;

/// What a place costs that is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// In looks.
    pub(crate) whole: u64,
    /// For each byte of a text and a name, in looks by [`BYTES_OF_LOOK`].
    pub(crate) of_byte: u64,
    /// How often all that is in it is hashed.
    pub(crate) unique: u64,
}

impl Looks {
    /// One, which goes through a text or through names once.
    pub(crate) const ONE: Self = Self { whole: 1, of_byte: 1, unique: 0 };

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            whole: self.whole.saturating_add(other.whole),
            of_byte: self.of_byte.saturating_add(other.of_byte),
            unique: self.unique.saturating_add(other.unique),
        }
    }

    /// One or the other, whichever it is.
    pub(crate) fn most(self, other: Self) -> Self {
        Self {
            whole: self.whole.max(other.whole),
            of_byte: self.of_byte.max(other.of_byte),
            unique: self.unique.max(other.unique),
        }
    }

    pub(crate) fn times(self, times: u64) -> Self {
        Self {
            whole: self.whole.saturating_mul(times),
            of_byte: self.of_byte.saturating_mul(times),
            unique: self.unique.saturating_mul(times),
        }
    }

    /// So many looks more at each byte.
    pub(crate) fn add_at_bytes(&mut self, looks: u64) {
        self.of_byte = self.of_byte.saturating_add(looks.saturating_mul(BYTES_OF_LOOK));
    }
}

/// What it costs to look each name up.
pub(crate) fn names(value: &Value) -> u64 {
    value.as_object().into_iter().flat_map(Map::keys).map(|name| 1 + looks_of(name)).sum()
}

/// A value's size in looks when it is compared: its values, its names and its texts.
pub(crate) fn compared(value: &Value) -> u64 {
    // Texts are compared several times as fast as names are looked up.
    size(value, &|text| looks_of(text) / 8)
}

/// What it costs to look up all the texts and names in a value.
pub(crate) fn looked_up(value: &Value) -> u64 {
    size(value, &looks_of)
}

fn size(value: &Value, of_text: &dyn Fn(&str) -> u64) -> u64 {
    let (mut waiting, mut sum) = (vec![value], 0);
    while let Some(value) = waiting.pop() {
        sum += 1;
        match value {
            Value::Object(object) => {
                sum += names(value);
                waiting.extend(object.values());
            }
            Value::Array(items) => waiting.extend(items),
            Value::String(text) => sum += of_text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    sum
}

fn looks_of(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX) / BYTES_OF_LOOK
}
