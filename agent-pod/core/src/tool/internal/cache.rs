//! `cache`: what an agent puts aside for a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::agent::Turn;
use crate::tool::{Tool, ToolError, ToolSpec};

/// Entries of one agent. Beyond, the one that would go first is dropped.
const ENTRIES_MAX: usize = 1000;
/// Bytes of all values of one agent.
const BYTES_MAX: usize = 1024 * 1024;
/// Characters of one value.
const VALUE_MAX: usize = 65_536;
/// How long an entry is kept where nothing is said, in seconds.
const TTL_DEFAULT: u64 = 3600;
/// The longest that one may be kept, in seconds.
const TTL_MAX: u64 = 86_400;

/// Keeps small values in the pod's memory, for all sessions of its agent.
#[derive(Debug, Default)]
pub struct Cache(Mutex<BTreeMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    value: String,
    until: Instant,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.retain(|_, entry| entry.until > now);
        entries
    }

    fn set(&self, key: &str, value: String, ttl: Duration) {
        let mut entries = self.lock();
        entries.insert(key.to_owned(), Entry { value, until: Instant::now() + ttl });
        let bytes = |entries: &BTreeMap<String, Entry>| entries.values().map(|entry| entry.value.len()).sum::<usize>();
        while entries.len() > ENTRIES_MAX || bytes(&entries) > BYTES_MAX {
            let first = entries.iter().filter(|(other, _)| *other != key).min_by_key(|(_, entry)| entry.until);
            let Some(first) = first.map(|(key, _)| key.clone()) else { return };
            entries.remove(&first);
        }
    }
}

#[async_trait]
impl Tool for Cache {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "cache".to_owned(),
            description: "Keeps a text under a key for a while: set, get or delete it.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "operation": {"enum": ["get", "set", "delete"]},
                    "key": {"type": "string", "minLength": 1, "maxLength": 256},
                    "value": {"type": "string", "maxLength": VALUE_MAX, "description": "for set"},
                    "ttlSeconds": {"type": "integer", "minimum": 1, "maximum": TTL_MAX, "description": "for set; absent: an hour"},
                },
                "required": ["operation", "key"],
                "additionalProperties": false,
            }),
        }
    }

    async fn call(&self, arguments: &Value, _turn: &Turn<'_>) -> Result<String, ToolError> {
        let text = |field: &str| arguments.get(field).and_then(Value::as_str);
        let key = text("key").unwrap_or_default();
        match text("operation") {
            Some("set") => {
                let value = text("value").ok_or_else(|| ToolError::refused("`set` needs a `value`"))?;
                let ttl = arguments.get("ttlSeconds").and_then(Value::as_u64).unwrap_or(TTL_DEFAULT);
                self.set(key, value.to_owned(), Duration::from_secs(ttl));
                Ok(json!({"stored": true}).to_string())
            }
            Some("delete") => Ok(json!({"deleted": self.lock().remove(key).is_some()}).to_string()),
            Some(_) | None => {
                let value = self.lock().get(key).map(|entry| entry.value.clone());
                Ok(json!({"found": value.is_some(), "value": value}).to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_end_with_their_time() {
        let cache = Cache::default();
        cache.set("a", "1".to_owned(), Duration::from_secs(10));
        assert_eq!(cache.lock().get("a").unwrap().value, "1");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(cache.lock().get("a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_cache_has_a_bound_and_the_newest_stays() {
        let cache = Cache::default();
        for index in 0..40 {
            cache.set(&index.to_string(), "x".repeat(VALUE_MAX), Duration::from_secs(100 + index));
        }
        let bytes: usize = cache.lock().values().map(|entry| entry.value.len()).sum();
        assert!(bytes <= BYTES_MAX);
        assert!(cache.lock().contains_key("39") && !cache.lock().contains_key("0"));
        for index in 0..ENTRIES_MAX + 10 {
            cache.set(&index.to_string(), String::new(), Duration::from_secs(1000));
        }
        assert!(cache.lock().len() <= ENTRIES_MAX);
    }
}
