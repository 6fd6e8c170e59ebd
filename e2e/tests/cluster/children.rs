//! The objects of an agent, as JSON.

use astromesh_e2e::TempNs;
use astromesh_e2e::objects::api_of;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// Every kind that an agent owns.
pub(crate) const KINDS: [(&str, &str); 4] =
    [("v1", "ConfigMap"), ("v1", "ServiceAccount"), ("v1", "Service"), ("apps/v1", "Deployment")];

/// The name of every child of the agent `support`.
pub(crate) const NAME: &str = "support-agent";

pub(crate) fn api(ns: &TempNs, (version, kind): (&str, &str)) -> anyhow::Result<Api<DynamicObject>> {
    api_of(&ns.cluster.client, &ns.name, &json!({"apiVersion": version, "kind": kind}))
}

/// Everything that the operator says of a child, without what changes by itself.
pub(crate) fn essence(child: &DynamicObject) -> Value {
    let mut essence = child.data.clone();
    if let Some(fields) = essence.as_object_mut() {
        fields.remove("status");
    }
    json!({"labels": child.metadata.labels, "owners": child.metadata.owner_references, "rest": essence})
}

/// The children of the agent `support`, in the order of [`KINDS`].
pub(crate) async fn all(ns: &TempNs) -> anyhow::Result<Vec<DynamicObject>> {
    let mut children = Vec::new();
    for kind in KINDS {
        children.push(api(ns, kind)?.get(NAME).await?);
    }
    Ok(children)
}

/// The resource versions of the children of the agent `support`.
pub(crate) async fn versions(ns: &TempNs) -> anyhow::Result<Vec<Option<String>>> {
    Ok(all(ns).await?.into_iter().map(|child| child.metadata.resource_version).collect())
}
