//! Whether a live object is still as desired: the test for drift, and what an apply alone does not mend.

use serde_json::{Map, Value};

use crate::applier::ChildKind;

/// Maps and lists that the API treats as one value (`x-kubernetes-map-type: atomic`, `x-kubernetes-list-type: atomic`): whoever
/// adds to one has changed it.
const ATOMIC: [&str; 9] =
    ["selector", "matchLabels", "nodeSelector", "tolerations", "items", "sources", "accessModes", "args", "drop"];

/// Lists with keys of which nobody else may add an item, because it would open a door.
const CLOSED: [&str; 1] = ["ports"];

/// Fields that are not desired and must not be there all the same: they stop the rollout, or open a door.
const ABSENT_IN_SERVICES: [&[&str]; 2] = [&["spec", "externalIPs"], &["spec", "publishNotReadyAddresses"]];
const ABSENT_IN_DEPLOYMENTS: [&[&str]; 9] = [
    &["spec", "paused"],
    &["spec", "template", "spec", "nodeSelector"],
    &["spec", "template", "spec", "tolerations"],
    &["spec", "template", "spec", "nodeName"],
    &["spec", "template", "spec", "schedulingGates"],
    &["spec", "template", "spec", "readinessGates"],
    &["spec", "template", "spec", "hostNetwork"],
    &["spec", "template", "spec", "hostPID"],
    &["spec", "template", "spec", "hostIPC"],
];

/// The same in the containers that are desired: another program would run in the agent's place, or the agent not at all.
const ABSENT_IN_CONTAINERS: [&str; 2] = ["command", "lifecycle"];

/// Whether `live` contains every field of `desired` with its value.
///
/// Fields that only `live` has are somebody else's: defaults of the API server, other managers, injected containers.
/// So a list of objects contains another one when each desired item is contained in some live item; what the API treats as
/// one value must be equal, but for defaults within its items.
#[must_use]
pub fn contains(live: &Value, desired: &Value) -> bool {
    contains_at(live, desired, Compare::default())
}

/// What an apply does not take away, as a merge patch (RFC 7386) that does; `None` when there is nothing.
#[must_use]
pub fn surplus(kind: ChildKind, live: &Value, desired: &Value) -> Option<Value> {
    let absent: &[&[&str]] = match kind {
        ChildKind::Service => &ABSENT_IN_SERVICES,
        ChildKind::Deployment => &ABSENT_IN_DEPLOYMENTS,
        ChildKind::ConfigMap | ChildKind::ServiceAccount | ChildKind::PersistentVolumeClaim => &[],
    };
    let mut patch = Value::Object(Map::new());
    for path in absent {
        if at(desired, path).is_none() && at(live, path).is_some_and(|value| !is_empty(value)) {
            put(&mut patch, path, Value::Null);
        }
    }
    if kind == ChildKind::Deployment
        && let Some(containers) = without_surplus(at(live, &CONTAINERS), at(desired, &CONTAINERS))
    {
        put(&mut patch, &CONTAINERS, containers);
    }
    let ports = ["spec", "ports"];
    if kind == ChildKind::Service
        && let (Some(Value::Array(live)), Some(Value::Array(desired))) = (at(live, &ports), at(desired, &ports))
        && live.len() > desired.len()
    {
        put(&mut patch, &ports, Value::Array(desired.clone()));
    }
    (patch != Value::Object(Map::new())).then_some(patch)
}

const CONTAINERS: [&str; 4] = ["spec", "template", "spec", "containers"];

/// The live containers without what must not be in those that are desired; `None` when there is nothing of it. A merge patch takes lists as
/// one value, so that others' containers are in it as they are.
fn without_surplus(live: Option<&Value>, desired: Option<&Value>) -> Option<Value> {
    let (live, desired) = (live?.as_array()?, desired?.as_array()?);
    let clean = |container: &Value| {
        let mut clean = container.clone();
        let wanted = desired.iter().find(|wanted| wanted["name"] == container["name"]);
        if let (Some(wanted), Some(fields)) = (wanted, clean.as_object_mut()) {
            for field in ABSENT_IN_CONTAINERS.iter().filter(|field| wanted.get(*field).is_none()) {
                fields.remove(*field);
            }
            if let (Some(Value::Array(ports)), Some(Value::Array(wanted))) = (fields.get("ports"), wanted.get("ports"))
                && ports.len() > wanted.len()
            {
                fields.insert("ports".to_owned(), Value::Array(wanted.clone()));
            }
        }
        clean
    };
    let cleaned: Vec<_> = live.iter().map(clean).collect();
    (cleaned != *live).then_some(Value::Array(cleaned))
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// As the API server leaves it out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

fn put(patch: &mut Value, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *patch = value;
        return;
    };
    if let Value::Object(fields) = patch {
        put(fields.entry(*first).or_insert_with(|| Value::Object(Map::new())), rest, value);
    }
}

/// How values compare.
#[derive(Clone, Copy, Default)]
struct Compare {
    /// Strings are quantities of resources: the API server writes `0.5` back as `500m`.
    quantities: bool,
    /// The value is all or nothing.
    whole: bool,
}

fn contains_at(live: &Value, desired: &Value, compare: Compare) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            (!compare.whole || live.len() == desired.len())
                && desired.iter().all(|(key, wanted)| {
                    let inner = Compare {
                        quantities: compare.quantities || key == "requests" || key == "limits",
                        whole: ATOMIC.contains(&key.as_str()) || CLOSED.contains(&key.as_str()),
                    };
                    live.get(key).is_some_and(|found| contains_at(found, wanted, inner))
                })
        }
        (Value::Array(live), Value::Array(desired)) => {
            let items = Compare { whole: false, ..compare };
            if compare.whole {
                live.len() == desired.len()
                    && live.iter().zip(desired).all(|(found, wanted)| contains_at(found, wanted, items))
            } else if desired.iter().all(Value::is_object) {
                desired.iter().all(|wanted| live.iter().any(|found| contains_at(found, wanted, items)))
            } else {
                live == desired
            }
        }
        (Value::String(live), Value::String(desired)) if compare.quantities => {
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
    fn what_the_api_treats_as_one_value_is_compared_as_one() {
        check(
            json!({"spec": {"selector": {"a": "b", "evil": "true"}}}),
            json!({"spec": {"selector": {"a": "b"}}}),
            false,
        );
        check(json!({"nodeSelector": {"a": "b", "c": "d"}}), json!({"nodeSelector": {"a": "b"}}), false);
        check(json!({"selector": {"matchLabels": {"a": "b"}}}), json!({"selector": {"matchLabels": {"a": "b"}}}), true);
        let tolerates = |keys: &[&str]| {
            let items: Vec<_> = keys.iter().map(|key| json!({"key": key, "operator": "Exists"})).collect();
            json!({"tolerations": items})
        };
        check(tolerates(&["a"]), tolerates(&["a"]), true);
        check(tolerates(&["a", "b"]), tolerates(&["a"]), false);
        check(tolerates(&["b", "a"]), tolerates(&["a", "b"]), false);
        // Defaults within the items of such a list are the API server's.
        check(
            json!({"items": [{"key": "k", "path": "p", "mode": 256}]}),
            json!({"items": [{"key": "k", "path": "p"}]}),
            true,
        );
        check(json!({"ports": [{"port": 80}, {"port": 8081}]}), json!({"ports": [{"port": 80}]}), false);
    }

    #[test]
    fn what_an_apply_leaves_is_taken_away_by_a_merge() {
        let service = json!({"spec": {"ports": [{"port": 80}]}});
        let opened =
            json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 8081}], "externalIPs": ["192.0.2.7"]}});
        let merge = json!({"spec": {"ports": [{"port": 80}], "externalIPs": null}});
        assert_eq!(surplus(ChildKind::Service, &opened, &service), Some(merge));
        let pods = |extra: Value| json!({"spec": {"paused": extra["paused"], "template": {"spec": extra}}});
        let plain = json!({"spec": {"template": {"spec": {}}}});
        let stopped = pods(json!({"paused": true, "nodeSelector": {"a": "b"}, "hostNetwork": true}));
        let merge =
            json!({"spec": {"paused": null, "template": {"spec": {"nodeSelector": null, "hostNetwork": null}}}});
        assert_eq!(surplus(ChildKind::Deployment, &stopped, &plain), Some(merge));
        let as_the_server_writes = pods(json!({"paused": false, "tolerations": [], "hostPID": false}));
        assert_eq!(surplus(ChildKind::Deployment, &as_the_server_writes, &plain), None);
        let wanted = json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}});
        assert_eq!(surplus(ChildKind::Deployment, &wanted, &wanted), None);
    }

    #[test]
    fn nobody_puts_another_program_in_the_place_of_the_agent() {
        let with = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let ports = json!([{"name": "http", "containerPort": 8080}]);
        let agent = json!({"name": "agent", "image": "x", "ports": ports});
        let proxy =
            json!({"name": "proxy", "command": ["proxy"], "ports": [{"containerPort": 1}, {"containerPort": 2}]});
        let desired = with(json!([agent]));
        let mut asleep = agent.clone();
        asleep["command"] = json!(["sleep", "1h"]);
        asleep["tty"] = json!(false);
        asleep["ports"] = json!([{"name": "http", "containerPort": 8080}, {"containerPort": 9}]);
        let mut awake = agent.clone();
        awake["tty"] = json!(false);
        let merge = surplus(ChildKind::Deployment, &with(json!([proxy, asleep])), &desired);
        assert_eq!(merge, Some(with(json!([proxy, awake]))), "what others have added stays");
        assert_eq!(surplus(ChildKind::Deployment, &with(json!([proxy, agent])), &desired), None);
    }

    #[test]
    fn quantities_compare_by_value_and_only_where_they_stand() {
        check(json!({"requests": {"cpu": "500m"}}), json!({"requests": {"cpu": "0.5"}}), true);
        check(json!({"limits": {"memory": "1Gi"}}), json!({"limits": {"memory": "1024Mi"}}), true);
        check(json!({"limits": {"memory": "2Gi"}}), json!({"limits": {"memory": "1024Mi"}}), false);
        check(json!({"data": {"x": "500m"}}), json!({"data": {"x": "0.5"}}), false);
    }
}
