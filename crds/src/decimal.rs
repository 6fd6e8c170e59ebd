//! Money as decimal text: `0.15`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A decimal number as text, for example `0.15`: never rounded on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecimalString(pub String);

impl DecimalString {
    /// The number in its shortest form, or `None` where the text is none (which the schema refuses).
    #[must_use]
    pub fn normalized(&self) -> Option<String> {
        let (whole, fraction) = self.0.split_once('.').map_or((self.0.as_str(), None), |(w, f)| (w, Some(f)));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !fraction.is_none_or(digits) {
            return None;
        }
        let whole = Some(whole.trim_start_matches('0')).filter(|whole| !whole.is_empty()).unwrap_or("0");
        let fraction = fraction.unwrap_or_default().trim_end_matches('0');
        Some(if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") })
    }
}

impl From<&str> for DecimalString {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for DecimalString {
    fn schema_name() -> Cow<'static, str> {
        "DecimalString".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 17})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_form() {
        for (text, form) in [
            ("0.15", "0.15"),
            ("0.150", "0.15"),
            ("2.00", "2"),
            ("007", "7"),
            ("00.5", "0.5"),
            ("0", "0"),
            ("10", "10"),
        ] {
            assert_eq!(DecimalString::from(text).normalized().as_deref(), Some(form), "{text}");
        }
        for text in ["", ".5", "1.", "-1", "1e3", "1.2.3", "cheap"] {
            assert_eq!(DecimalString::from(text).normalized(), None, "{text}");
        }
    }
}
