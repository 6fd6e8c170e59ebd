//! An answer as server-sent events.

use anyhow::Context as _;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use sse_stream::SseStream;

/// The events of one run. Dropping it hangs up.
pub struct EventStream {
    events: BoxStream<'static, anyhow::Result<Value>>,
}

impl EventStream {
    pub(super) fn new(response: reqwest::Response) -> Self {
        let events = SseStream::from_bytes_stream(response.bytes_stream()).map(|event| {
            let event = event.map_err(|error| anyhow::anyhow!("the stream broke off: {error}"))?;
            let data: Value = serde_json::from_str(event.data.as_deref().unwrap_or_default()).context("no JSON")?;
            anyhow::ensure!(event.event.as_deref() == data["type"].as_str(), "`event:` is not the type of {data}");
            Ok(data)
        });
        Self { events: events.boxed() }
    }

    /// The next event.
    ///
    /// # Errors
    /// When the stream has ended or broken off.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        self.events.try_next().await?.context("the stream has ended")
    }

    /// The next event of this type; others are skipped.
    ///
    /// # Errors
    /// When the stream ends before.
    pub async fn next_of(&mut self, type_: &str) -> anyhow::Result<Value> {
        loop {
            let event = self.next().await?;
            if event["type"] == type_ {
                return Ok(event);
            }
        }
    }

    /// Every event to the end of the stream.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn rest(self) -> anyhow::Result<Vec<Value>> {
        self.events.try_collect().await
    }
}
