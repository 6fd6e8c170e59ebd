//! What reading a schema takes of memory. On its own, so that no other test takes any meanwhile.

use agent_pod_schema::inspect;
use serde_json::{Map, Value, json};

/// The most memory that this process has had, in KiB, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn a_long_name_is_not_kept_for_each_of_what_is_below_it() {
    let below: Map<String, Value> = (0..5_000).map(|n| (format!("p{n}"), json!(true))).collect();
    let schema = json!({"type": "object", "properties": {"k".repeat(60_000): {"properties": below}}});
    let before = peak();
    assert_eq!(inspect(&schema).unwrap().values(), 5_005);
    let taken = peak().zip(before).map_or(0, |(after, before)| after - before);
    assert!(taken < 16 << 10, "{taken} KiB");
}
