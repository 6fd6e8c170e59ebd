//! Waiting for a state: a predicate and a deadline, never a pause that is hoped to suffice.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How often something that cannot be watched is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// Looks again and again until `probe` gives something.
///
/// # Errors
/// When `probe` fails, or gives nothing `within` this time: with `what` was waited for.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let looking = async {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(found) = probe().await? {
                return Ok(found);
            }
        }
    };
    tokio::time::timeout(within, looking).await.with_context(|| format!("not within {within:?}: {what}"))?
}

/// Watches an object until `predicate` holds of it; `None` stands for an object that is not there.
///
/// # Errors
/// When it does not hold `within` this time: with `what` was waited for and what the object was at last.
pub async fn await_object<K>(
    api: Api<K>,
    name: &str,
    what: &str,
    within: Duration,
    mut predicate: impl FnMut(Option<&K>) -> bool,
) -> anyhow::Result<Option<K>>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let mut states = watcher::watch_object(api, name).default_backoff().boxed();
    let watching = async {
        while let Some(state) = states.try_next().await.with_context(|| format!("failed to watch `{name}`"))? {
            let holds = predicate(state.as_ref());
            last = state;
            if holds {
                return Ok(());
            }
        }
        bail!("the watch of `{name}` has ended")
    };
    match tokio::time::timeout(within, watching).await {
        Ok(result) => result.map(|()| last),
        Err(_elapsed) => {
            let last = last.map_or_else(|| Ok("there is none".to_owned()), |last| serde_json::to_string(&last))?;
            bail!("not within {within:?}: {what}; at last `{name}` was {last}")
        }
    }
}
