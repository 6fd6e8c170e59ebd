//! What is wrong with a JSON Schema, in words for whoever wrote it.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ReferencingError, ValidationError};

/// The fault with its place in the schema. A reference to another document is refused: nothing is fetched.
pub(crate) fn schema_fault(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let said = if let ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) = error.kind() {
        format!("`{uri}` is another document; references must be within the schema, such as `#/$defs/address`")
    } else {
        error.to_string()
    };
    if place.is_empty() { said } else { format!("{place}: {said}") }
}
