//! One request that is only tried.

use anyhow::{Context as _, bail};
use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::objects::{FIELD_MANAGER, api_of};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// A kind: its `apiVersion` and `kind`.
pub(super) type Kind = (&'static str, &'static str);

/// What is tried.
pub(super) enum Attempt {
    /// A server-side apply.
    Apply(Value),
    /// A create.
    Create(Value),
    /// A patch of something that is there, in this namespace or the test's own.
    Patch(Kind, Option<&'static str>, String, Patch<Value>),
    /// A merge into the status of the agent `support`.
    MergeStatus(Value),
    /// A delete.
    Delete(Kind, String),
    /// A create of a subresource.
    Subresource(Kind, String, &'static str, Value),
}

impl Attempt {
    /// A merge patch in the test's namespace.
    pub(super) fn merge(kind: Kind, name: &str, patch: Value) -> Self {
        Self::Patch(kind, None, name.to_owned(), Patch::Merge(patch))
    }

    /// The same, where lists are merged by their keys.
    pub(super) fn strategic(kind: Kind, name: &str, patch: Value) -> Self {
        Self::Patch(kind, None, name.to_owned(), Patch::Strategic(patch))
    }

    /// A delete in the test's namespace.
    pub(super) fn delete(kind: Kind, name: &str) -> Self {
        Self::Delete(kind, name.to_owned())
    }

    /// Why it is refused.
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn denial(self, client: &Client, namespace: &str) -> anyhow::Result<String> {
        match self.send(client, namespace).await? {
            Ok(()) => Ok("it is allowed".to_owned()),
            Err(kube::Error::Api(status)) => Ok(format!("{}: {}", status.code, status.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// That it is allowed.
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn succeeds(self, client: &Client, namespace: &str) -> anyhow::Result<()> {
        self.send(client, namespace).await?.context("it was to be allowed")
    }

    async fn send(self, client: &Client, namespace: &str) -> anyhow::Result<Result<(), kube::Error>> {
        let api = |(version, kind): Kind, namespace: &str| -> anyhow::Result<Api<DynamicObject>> {
            api_of(client, namespace, &json!({"apiVersion": version, "kind": kind}))
        };
        let post = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.into()) };
        let patching = PatchParams { dry_run: true, ..PatchParams::default() };
        let deleting = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let sent = match self {
            Self::Apply(object) => {
                let name = object["metadata"]["name"].as_str().context("a name")?.to_owned();
                let params = PatchParams::apply(FIELD_MANAGER).force().dry_run();
                api_of(client, namespace, &object)?.patch(&name, &params, &Patch::Apply(&object)).await.map(drop)
            }
            Self::Create(object) => {
                let api = api_of(client, namespace, &object)?;
                api.create(&post, &serde_json::from_value(object)?).await.map(drop)
            }
            Self::Patch(kind, elsewhere, name, patch) => {
                api(kind, elsewhere.unwrap_or(namespace))?.patch(&name, &patching, &patch).await.map(drop)
            }
            Self::MergeStatus(patch) => {
                let agents: Api<Agent> = Api::namespaced(client.clone(), namespace);
                agents.patch_status("support", &patching, &Patch::Merge(patch)).await.map(drop)
            }
            Self::Delete(kind, name) => api(kind, namespace)?.delete(&name, &deleting).await.map(drop),
            Self::Subresource(kind, name, subresource, body) => {
                let sent =
                    api(kind, namespace)?.create_subresource::<Value, Value>(subresource, &name, &post, &body).await;
                sent.map(drop)
            }
        };
        if let Err(kube::Error::Api(status)) = &sent
            && status.code == 404
        {
            bail!("there is nothing to try it on: {}", status.message);
        }
        Ok(sent)
    }
}
