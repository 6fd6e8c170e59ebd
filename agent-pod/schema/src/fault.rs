//! What is wrong with a JSON Schema, in words for whoever wrote it.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ReferencingError, ValidationError};

use crate::clip;

/// The most characters of one problem: the schema's own names and values in it may be long.
pub(crate) const PROBLEM_CHARS_MAX: usize = 400;

/// A schema that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is none.
    #[error("not a JSON Schema of draft 2020-12: {0}")]
    Invalid(String),
    /// It would cost more than a schema may.
    #[error("{0}")]
    TooCostly(String),
}

/// The fault with its place in the schema. A reference to another document is refused: nothing is fetched.
pub(crate) fn invalid(error: &ValidationError<'_>) -> SchemaError {
    let place = error.instance_path().to_string();
    let said = if let ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) = error.kind() {
        elsewhere(uri)
    } else {
        error.to_string()
    };
    SchemaError::Invalid(at(&place, &said))
}

pub(crate) fn elsewhere(reference: &str) -> String {
    let reference = clip(reference, PROBLEM_CHARS_MAX);
    format!("`{reference}` is another document; references must be within the schema, such as `#/$defs/address`")
}

/// A problem with its place before it, both of bounded length.
pub(crate) fn at(place: &str, said: &str) -> String {
    let (place, said) = (clip(place, PROBLEM_CHARS_MAX), clip(said, PROBLEM_CHARS_MAX));
    if place.is_empty() { said.into_owned() } else { format!("{place}: {said}") }
}
