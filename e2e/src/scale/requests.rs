//! How many requests the API server gets from the operator.
//!
//! Its metrics know no user. A FlowSchema of the operator's own does: the API server counts what each one dispatches. It leads
//! to the same level of priority as that of all service accounts, so nothing changes for the operator.

use std::time::Duration;

use anyhow::Context as _;
use astromesh_e2e::operator::NAMESPACE;
use astromesh_e2e::{Operator, eventually};
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::operator::sum;

const NAME: &str = "astromesh-scale";
/// The level of what service accounts ask, see `kubectl get flowschema service-accounts`.
const LEVEL: &str = "workload-low";
/// The operator renews its lease every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the operator's requests from now on.
pub(crate) async fn start(client: &Client) -> anyhow::Result<()> {
    let user = Operator::find(client).await?.user;
    let account = user.rsplit(':').next().context("a service account has a name")?;
    let everything = json!(["*"]);
    let schema: FlowSchema = serde_json::from_value(json!({
        "metadata": {"name": NAME, "labels": {"scale.astromesh.io/run": "true"}},
        "spec": {
            "priorityLevelConfiguration": {"name": LEVEL},
            "matchingPrecedence": 1_000,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": NAMESPACE, "name": account}}],
                "resourceRules": [{"verbs": everything, "apiGroups": everything, "resources": everything,
                                   "namespaces": everything, "clusterScope": true}],
                "nonResourceRules": [{"verbs": everything, "nonResourceURLs": everything}],
            }],
        },
    }))?;
    let api: Api<FlowSchema> = Api::all(client.clone());
    api.create(&PostParams::default(), &schema).await.context("the FlowSchema was refused")?;
    eventually("the API server counts the operator's requests", PATIENCE, async || {
        Ok((count(client).await? > 0.0).then_some(()))
    })
    .await
}

/// Requests so far; a watch counts once, when it begins.
pub(crate) async fn count(client: &Client) -> anyhow::Result<f64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = client.request_text(request).await.context("the API server's metrics are not readable")?;
    Ok(sum(&text, "apiserver_flowcontrol_dispatched_requests_total", &format!("flow_schema=\"{NAME}\"")))
}
