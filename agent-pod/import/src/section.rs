//! A mapping of the input whose fields are taken out one by one. What nobody took is reported when it ends.

use astromesh_crds::manifest::excerpt;
use serde_json::{Map, Value};

use crate::report::Report;

/// A mapping at its place in a file.
pub(crate) struct Section<'r> {
    pub(crate) report: &'r Report,
    pub(crate) file: &'r str,
    pub(crate) path: String,
    fields: Map<String, Value>,
}

impl<'r> Section<'r> {
    /// The mapping at `path`; anything else is reported.
    pub(crate) fn new(report: &'r Report, file: &'r str, path: String, value: Value) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self { report, file, path, fields }),
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                report.remark(file, &path, "must be a mapping; left out");
                None
            }
        }
    }

    /// The path of a field. A key may be as long as a file, and is part of every path below it.
    pub(crate) fn at(&self, key: &str) -> String {
        let key = excerpt(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn remark(&self, key: &str, message: impl Into<String>) {
        let path = if key.is_empty() { self.path.clone() } else { self.at(key) };
        self.report.remark(self.file, &path, message);
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.fields.keys().cloned().collect()
    }

    /// Takes a field; a null says the same as an absent one, and stands in its place: to close the gap would move all
    /// that come after it.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.fields.get_mut(key).map(Value::take).filter(|value| !value.is_null())
    }

    /// Takes all that is left, with nulls for what was taken before.
    pub(crate) fn take_all(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.fields)
    }

    /// Takes the first of several spellings; the others are reported at the end.
    pub(crate) fn take_any(&mut self, keys: &[&str]) -> Option<Value> {
        keys.iter().find_map(|key| self.take(key))
    }

    /// Reports a field that cannot be carried over; an empty one says nothing.
    pub(crate) fn refuse(&mut self, key: &str, why: &str) {
        let empty =
            |value: &Value| value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        if self.take(key).is_some_and(|value| !empty(&value)) {
            self.remark(key, why);
        }
    }

    pub(crate) fn refuse_all(&mut self, keys: &[&str], why: &str) {
        for key in keys {
            self.refuse(key, why);
        }
    }

    /// A text; numbers and booleans are read as they are written.
    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            number @ (Value::Number(_) | Value::Bool(_)) => Some(number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => self.wrong(key, "a text"),
        }
    }

    pub(crate) fn integer(&mut self, key: &str) -> Option<u64> {
        let value = self.take(key)?;
        let whole = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        whole.or_else(|| self.wrong(key, "a whole number"))
    }

    pub(crate) fn flag(&mut self, key: &str) -> Option<bool> {
        self.take(key)?.as_bool().or_else(|| self.wrong(key, "true or false"))
    }

    /// Seconds, as a duration of ours.
    pub(crate) fn seconds(&mut self, key: &str) -> Option<String> {
        let value = self.take(key)?;
        let seconds = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        let Some(seconds) = seconds.filter(|seconds| (0.001..1e8).contains(seconds)) else {
            return self.wrong(key, "a number of seconds over 0");
        };
        Some(if seconds.fract() == 0.0 { format!("{seconds:.0}s") } else { format!("{:.0}ms", seconds * 1000.0) })
    }

    pub(crate) fn section(&mut self, key: &str) -> Option<Self> {
        let value = self.take(key)?;
        Self::new(self.report, self.file, self.at(key), value)
    }

    /// The mappings of a list; a single mapping stands for a list of one.
    pub(crate) fn sections(&mut self, key: &str) -> Vec<Self> {
        let path = self.at(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| Self::new(self.report, self.file, format!("{path}[{index}]"), item))
                .collect(),
            Some(other) => Self::new(self.report, self.file, path, other).into_iter().collect(),
        }
    }

    /// The texts of a list; a single text stands for a list of one.
    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        let path = self.at(key);
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => vec![other],
        };
        let mut texts = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                number @ (Value::Number(_) | Value::Bool(_)) => texts.push(number.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    self.report.remark(self.file, &format!("{path}[{index}]"), "must be a text; left out");
                }
            }
        }
        texts
    }

    fn wrong<T>(&self, key: &str, expected: &str) -> Option<T> {
        self.remark(key, format!("must be {expected}; left out"));
        None
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, value) in self.take_all() {
            if !value.is_null() {
                self.remark(&key, "not a field that the original has here; left out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn many_fields_are_taken_in_little_time() {
        let start = Instant::now();
        let report = Report::default();
        let fields: Map<String, Value> = (0..100_000).map(|index| (format!("p{index}"), Value::from(index))).collect();
        let mut section = Section::new(&report, "a.yaml", String::new(), Value::Object(fields)).unwrap();
        for key in section.keys() {
            assert!(section.text(&key).is_some());
        }
        drop(section);
        assert_eq!(report.remarks(), []);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
