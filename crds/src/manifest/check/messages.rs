//! What a schema's refusals say.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::manifest::excerpt;

/// What is wrong with a value, with what would be right.
pub(super) fn of(error: &ValidationError<'_>) -> String {
    let value = excerpt(error.instance());
    if let ValidationErrorKind::Enum { options } = error.kind() {
        return format!("{value} is not one of {}", listed(options));
    }
    error.masked_with(value).to_string()
}

/// Every permitted value, as it has to be written. Null stands for an absent field.
fn listed(options: &Value) -> String {
    let options: Vec<String> =
        options.as_array().into_iter().flatten().filter(|option| !option.is_null()).map(Value::to_string).collect();
    match options.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}
