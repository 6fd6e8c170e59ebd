//! Whether an object is small enough to be looked at: the validator holds every error of it at once.

use serde_json::Value;

use super::{Problem, join};

/// The most values of an object, without those that are free-form. The largest valid one has some 20,000.
const VALUES_MAX: usize = 50_000;

/// The most bytes of a key: each error below it has it in its path.
const KEY_BYTES_MAX: usize = 512;

/// Why an object is not looked at any closer.
pub(super) fn too_large(schema: &Value, object: &Value) -> Option<Problem> {
    let mut room = VALUES_MAX;
    walk(schema, object, "", &mut room).err()
}

fn walk(schema: &Value, value: &Value, path: &str, room: &mut usize) -> Result<(), Problem> {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    let length = value.as_object().map_or(0, |fields| fields.len()) + value.as_array().map_or(0, Vec::len);
    *room = room.checked_sub(length).ok_or_else(|| {
        let message = format!("the object has more than {VALUES_MAX} values up to here; take some of them out");
        Problem { path: path.to_owned(), message }
    })?;
    for (key, field) in value.as_object().into_iter().flatten() {
        if key.len() > KEY_BYTES_MAX {
            let message = format!("a key has at most {KEY_BYTES_MAX} bytes; shorten it");
            return Err(Problem { path: join(path, key), message });
        }
        let property = schema.get("properties").and_then(|properties| properties.get(key));
        if let Some(inner) = property.or_else(|| schema.get("additionalProperties")) {
            walk(inner, field, &join(path, key), room)?;
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(inner) = schema.get("items") {
            walk(inner, item, &format!("{path}[{index}]"), room)?;
        }
    }
    Ok(())
}
