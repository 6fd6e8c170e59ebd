//! What a pod tells by itself: that its state has changed, to the address that stands beside its document.

use std::time::Duration;

use anyhow::Context as _;
use astromesh_e2e::Operator;
use futures::StreamExt as _;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

/// After a call that nobody has taken; doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Something to tell.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// Text of `operator.json`: `{"attention": "<url>"}`.
    pub(super) operator: String,
    pub(super) namespace: String,
    pub(super) pod: String,
}

/// Tells the operator, each pod for itself. What cannot be told is left out: the operator asks by itself, too.
///
/// # Errors
/// When there is no HTTP client.
pub(super) async fn tell(client: Client, news: mpsc::UnboundedReceiver<News>) -> anyhow::Result<()> {
    // Pods share no connection.
    let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(0).build()?;
    let herald = Herald { client, http, operator: Mutex::default() };
    let news = futures::stream::unfold(news, async |mut news| Some((news.recv().await?, news)));
    news.for_each_concurrent(None, async |news| {
        for attempt in 0..TRIES {
            if herald.post(&news).await.is_ok() {
                return;
            }
            *herald.operator.lock().await = None;
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
        }
    })
    .await;
    Ok(())
}

struct Herald {
    client: Client,
    http: reqwest::Client,
    /// The address of the operator's pod, as far as it is known.
    operator: Mutex<Option<String>>,
}

impl Herald {
    async fn post(&self, news: &News) -> anyhow::Result<()> {
        let address: Value = serde_json::from_str(&news.operator)?;
        let mut url: reqwest::Url = address["attention"].as_str().context("no `attention`")?.parse()?;
        url.set_host(Some(&self.address().await?))?;
        let body = json!({"namespace": news.namespace, "pod": news.pod}).to_string();
        let request = self.http.post(url).header("content-type", "application/json").body(body);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// The name in the address is one of the cluster's DNS, which this machine does not ask: it is that of the operator's pods.
    async fn address(&self) -> anyhow::Result<String> {
        let mut known = self.operator.lock().await;
        if known.is_none() {
            let pods = Operator::find(&self.client).await?.pods().await?;
            *known = pods.iter().find_map(|pod| pod.status.as_ref()?.pod_ip.clone());
        }
        known.clone().context("no pod of the operator")
    }
}
