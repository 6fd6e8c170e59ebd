//! Whether a live object still contains what is desired: the test for drift.

use serde_json::Value;

/// Whether `live` contains every field of `desired` with its value.
///
/// Fields that only `live` has are somebody else's: defaults of the API server, other managers, injected containers.
/// So a list of objects contains another one when each desired item is contained in some live item; a list of plain
/// values must be equal.
#[must_use]
pub fn contains(live: &Value, desired: &Value) -> bool {
    contains_at(live, desired, Compare::Exact)
}

/// How strings compare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Exact,
    /// Quantities of resources: the API server writes `0.5` back as `500m`.
    Quantities,
}

fn contains_at(live: &Value, desired: &Value, compare: Compare) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(key, wanted)| {
            let inner = if key == "requests" || key == "limits" { Compare::Quantities } else { compare };
            live.get(key).is_some_and(|found| contains_at(found, wanted, inner))
        }),
        (Value::Array(live), Value::Array(desired)) => {
            let objects = desired.iter().all(Value::is_object);
            if objects {
                desired.iter().all(|wanted| live.iter().any(|found| contains_at(found, wanted, compare)))
            } else {
                live == desired
            }
        }
        (Value::String(live), Value::String(desired)) if compare == Compare::Quantities => {
            live == desired || quantity(live).is_some_and(|value| quantity(desired) == Some(value))
        }
        (live, desired) => live == desired,
    }
}

/// A quantity in thousandths; `None` for what does not look like one.
fn quantity(text: &str) -> Option<f64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(split)?;
    let factor = match suffix {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "Ki" => 1_024e3,
        "Mi" => 1_048_576e3,
        "Gi" => 1_073_741_824e3,
        "Ti" => 1_099_511_627_776e3,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(live: Value, desired: Value, expected: bool) {
        assert_eq!(contains(&live, &desired), expected, "live {live} desired {desired}");
    }

    #[test]
    fn what_others_add_is_theirs() {
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), true);
        check(
            json!({"containers": [{"name": "proxy"}, {"name": "agent", "image": "x", "tty": false}]}),
            json!({"containers": [{"name": "agent", "image": "x"}]}),
            true,
        );
        check(json!({"emptyDir": {}}), json!({"emptyDir": {}}), true);
    }

    #[test]
    fn what_was_changed_or_removed_is_drift() {
        check(json!({"a": 2}), json!({"a": 1}), false);
        check(json!({"b": 1}), json!({"a": 1}), false);
        check(
            json!({"containers": [{"name": "agent", "image": "y"}]}),
            json!({"containers": [{"name": "agent", "image": "x"}]}),
            false,
        );
        check(json!({"args": ["serve", "--debug"]}), json!({"args": ["serve"]}), false);
        check(json!({"args": ["b", "a"]}), json!({"args": ["a", "b"]}), false);
        check(json!({"optional": true}), json!({"optional": false}), false);
        check(json!({"a": null}), json!({"a": {}}), false);
    }

    #[test]
    fn quantities_compare_by_value_and_only_where_they_stand() {
        check(json!({"requests": {"cpu": "500m"}}), json!({"requests": {"cpu": "0.5"}}), true);
        check(json!({"limits": {"memory": "1Gi"}}), json!({"limits": {"memory": "1024Mi"}}), true);
        check(json!({"limits": {"memory": "2Gi"}}), json!({"limits": {"memory": "1024Mi"}}), false);
        check(json!({"data": {"x": "500m"}}), json!({"data": {"x": "0.5"}}), false);
    }
}
