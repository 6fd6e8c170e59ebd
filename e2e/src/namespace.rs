//! A namespace for one test.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use anyhow::Context as _;
use astromesh_crds::v1alpha1::Agent;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::command::{Output, kubectl};
use crate::conditions::Reported;
use crate::waiting::await_object;
use crate::{Caller, Cluster, diagnose, objects};

/// How long anything that is under way may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace in which Pod Security `restricted` is enforced.
pub struct TempNs {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace.
    pub name: String,
}

/// Runs `test` in a namespace of its own, which is deleted at the end. Nest it for a second one.
///
/// # Errors
/// Whatever `test` fails with, after everything that explains it was printed.
pub async fn with_temp_ns(test: impl AsyncFnOnce(&TempNs) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let ns = TempNs::create(Cluster::connect().await?).await?;
    let result = AssertUnwindSafe(test(&ns)).catch_unwind().await;
    if !matches!(result, Ok(Ok(()))) {
        diagnose::explain(&ns.name).await;
    }
    ns.delete().await?;
    match result {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}

impl TempNs {
    async fn create(cluster: Cluster) -> anyhow::Result<Self> {
        let labels = BTreeMap::from([
            ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned()),
            ("app.kubernetes.io/part-of".to_owned(), "astromesh-e2e".to_owned()),
        ]);
        let namespace = Namespace {
            metadata: ObjectMeta {
                generate_name: Some("e2e-".to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        let name = api.create(&PostParams::default(), &namespace).await.context("no namespace")?.name_any();
        let ns = Self { cluster, name };
        // Made by a controller a moment later; callers are this account.
        await_object(ns.api::<ServiceAccount>(), "default", "the default account exists", PATIENCE, |a| a.is_some())
            .await?;
        Ok(ns)
    }

    /// Its objects go in the background.
    async fn delete(&self) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        api.delete(&self.name, &DeleteParams::background()).await.context("the namespace was not deleted")?;
        Ok(())
    }

    /// A client for one kind in it.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    /// Applies an object.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, object: Value) -> anyhow::Result<DynamicObject> {
        objects::apply(&self.cluster.client, &self.name, &object).await
    }

    /// Merges `patch` into an object, as `kubectl patch --type merge` does.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn merge<K>(&self, name: &str, patch: Value) -> anyhow::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = PatchParams { field_manager: Some(objects::FIELD_MANAGER.into()), ..PatchParams::default() };
        let patched = self.api::<K>().patch(name, &params, &Patch::Merge(patch)).await;
        patched.with_context(|| format!("failed to patch `{name}`"))
    }

    /// Runs `kubectl` in it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut all = vec!["--namespace", &self.name];
        all.extend(args);
        kubectl(&all).await
    }

    /// `kubectl wait --for=condition=Ready agent/…`, as users do.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn agent_ready(&self, agent: &str) -> anyhow::Result<Agent> {
        let (agent_name, timeout) = (format!("agent/{agent}"), format!("--timeout={}s", PATIENCE.as_secs()));
        self.kubectl(&["wait", "--for=condition=Ready", &agent_name, &timeout]).await?.text()?;
        Ok(self.api::<Agent>().get(agent).await?)
    }

    /// Waits until an object's status says all of `texts`, see [`Reported::says`].
    ///
    /// # Errors
    /// When it does not `within` this time.
    pub async fn await_status<K>(&self, name: &str, texts: &[&str], within: Duration) -> anyhow::Result<K>
    where
        K: Reported
            + Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + 'static,
    {
        let says = |object: Option<&K>| object.is_some_and(|object| texts.iter().all(|text| object.says(text)));
        let found = await_object(self.api::<K>(), name, &texts.join(", "), within, says).await?;
        found.context("an object that says something is there")
    }

    /// A caller of an agent: the namespace's default account, through a door of its own.
    ///
    /// # Errors
    /// When there is no token, or no door.
    pub async fn caller(&self, agent: &str) -> anyhow::Result<Caller> {
        let token = self.cluster.token(&self.name, "default").await?;
        Caller::open(&self.cluster.client, &self.name, agent, Some(token)).await
    }

    /// The pods of an agent that are not being deleted, found by the selector of its status.
    ///
    /// # Errors
    /// When the agent has no selector yet, or the API server fails.
    pub async fn pods(&self, agent: &str) -> anyhow::Result<Vec<Pod>> {
        let agent = self.api::<Agent>().get(agent).await?;
        let selector = agent.status.and_then(|status| status.selector).context("no selector in the status")?;
        let mut pods = self.api::<Pod>().list(&ListParams::default().labels(&selector)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.sort_by_key(kube::ResourceExt::name_any);
        Ok(pods)
    }

    /// The uids of these pods.
    ///
    /// # Errors
    /// As [`TempNs::pods`].
    pub async fn pod_uids(&self, agent: &str) -> anyhow::Result<Vec<String>> {
        Ok(self.pods(agent).await?.iter().filter_map(kube::ResourceExt::uid).collect())
    }
}
