//! Writing objects as `kubectl apply --server-side` does.

use anyhow::{Context as _, bail};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

/// Who the tests are for the API server.
pub const FIELD_MANAGER: &str = "astromesh-e2e";

/// A client for the kind of `object`, in its own namespace or else in `namespace`.
///
/// # Errors
/// When it has no kind.
pub fn api_of(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<Api<DynamicObject>> {
    let text = |field: &str| object[field].as_str().with_context(|| format!("no `{field}` in {object}"));
    let (group, version) = match text("apiVersion")?.split_once('/') {
        Some(parts) => parts,
        None => ("", text("apiVersion")?),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")?));
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
    Ok(Api::namespaced_with(client.clone(), namespace, &resource))
}

/// Applies `object`.
///
/// # Errors
/// When the API server refuses it.
pub async fn apply(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<DynamicObject> {
    send(client, namespace, object, &PatchParams::apply(FIELD_MANAGER).force())
        .await?
        .with_context(|| format!("the API server refused {object}"))
}

/// Why the API server would refuse `object`; nothing is written.
///
/// # Errors
/// When it would not.
pub async fn refusal(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<String> {
    let params = PatchParams::apply(FIELD_MANAGER).force().dry_run().validation_strict();
    match send(client, namespace, object, &params).await? {
        Ok(_accepted) => bail!("the API server was to refuse, and accepts {object}"),
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the API server would take `object`; nothing is written.
///
/// # Errors
/// When it would not.
pub async fn accepted(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<()> {
    let params = PatchParams::apply(FIELD_MANAGER).force().dry_run().validation_strict();
    send(client, namespace, object, &params).await?.with_context(|| format!("the API server refused {object}"))?;
    Ok(())
}

async fn send(
    client: &Client,
    namespace: &str,
    object: &Value,
    params: &PatchParams,
) -> anyhow::Result<Result<DynamicObject, kube::Error>> {
    let name = object["metadata"]["name"].as_str().with_context(|| format!("no name in {object}"))?;
    Ok(api_of(client, namespace, object)?.patch(name, params, &Patch::Apply(object)).await)
}
