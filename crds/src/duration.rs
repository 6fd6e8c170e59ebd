//! Durations as Kubernetes writes them: `250ms`, `30s`, `5m`, `1h30m`.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration as a string of numbers with units, for example `30s` or `1h30m`.
///
/// Kept as written, so that an applied object reads back unchanged; the shape is enforced by a rule of each field, and
/// [`DurationString::get`] gives the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationString(pub String);

impl DurationString {
    /// The duration, or `None` where the text is none (which the schema refuses).
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let parsed: kube::core::Duration = self.0.parse().ok()?;
        (!parsed.is_negative()).then(|| parsed.into())
    }
}

impl From<&str> for DurationString {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for DurationString {
    fn schema_name() -> Cow<'static, str> {
        "DurationString".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubernetes_writes_them() {
        for (text, millis) in [("250ms", 250), ("30s", 30_000), ("1h30m", 5_400_000), ("1.5s", 1_500)] {
            assert_eq!(DurationString::from(text).get(), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(DurationString::from("-1s").get(), None);
        assert_eq!(DurationString::from("soon").get(), None);
    }
}
