//! The operator, seen from outside.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::command::kubectl;
use crate::waiting::{await_object, eventually};

/// The namespace of the default installation.
pub const NAMESPACE: &str = "astromesh-system";
/// Selects what belongs to the default installation.
pub const SELECTOR: &str = "app.kubernetes.io/instance=astromesh";
/// The Lease of its replicas.
pub const LEASE: &str = "astromesh-operator";

/// The operator of the default installation.
pub struct Operator {
    client: Client,
    /// Its Deployment's name.
    pub deployment: String,
    /// Its service account, as a user name.
    pub user: String,
}

impl Operator {
    /// Finds it.
    ///
    /// # Errors
    /// When it is not installed.
    pub async fn find(client: &Client) -> anyhow::Result<Self> {
        let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
        let mut found = api.list(&ListParams::default().labels(SELECTOR)).await?.items;
        anyhow::ensure!(found.len() == 1, "one Deployment with {SELECTOR} in {NAMESPACE}, found {}", found.len());
        let deployment = found.pop().context("one was found")?;
        let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let account = template.and_then(|pod| pod.service_account_name.clone()).context("it has an account")?;
        Ok(Self {
            client: client.clone(),
            deployment: deployment.name_any(),
            user: format!("system:serviceaccount:{NAMESPACE}:{account}"),
        })
    }

    /// Scales it as users do, and waits until all pods are there, or none.
    ///
    /// # Errors
    /// When it does not come about.
    pub async fn scale(&self, replicas: i32) -> anyhow::Result<()> {
        let (name, count) = (format!("deployment/{}", self.deployment), format!("--replicas={replicas}"));
        kubectl(&["-n", NAMESPACE, "scale", &name, &count]).await?.text()?;
        let scaled = |deployment: Option<&Deployment>| {
            deployment.and_then(|deployment| deployment.status.as_ref()).is_some_and(|status| {
                status.replicas.unwrap_or(0) == replicas && status.ready_replicas.unwrap_or(0) == replicas
            })
        };
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        await_object(api, &self.deployment, "the operator is scaled", Duration::from_secs(60), scaled).await?;
        // A Deployment no longer counts a pod that is stopping, and that one may still finish its work.
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let selected = ListParams::default().labels(SELECTOR);
        eventually("the pods that were too many are gone", Duration::from_secs(60), async || {
            let left = pods.list(&selected).await?.items.len();
            Ok((left <= usize::try_from(replicas)?).then_some(()))
        })
        .await
    }

    /// Runs a test that takes the operator away, and brings it back afterwards, come what may.
    ///
    /// # Errors
    /// Whatever `test` fails with.
    pub async fn restoring(&self, test: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let result = AssertUnwindSafe(test()).catch_unwind().await;
        self.scale(1).await?;
        match result {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Its pods that run.
    ///
    /// # Errors
    /// When the API server fails.
    pub async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut pods = api.list(&ListParams::default().labels(SELECTOR)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// Ends a pod without its consent.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub async fn kill(&self, pod: &str) -> anyhow::Result<()> {
        let args = ["-n", NAMESPACE, "delete", "pod", pod, "--grace-period=0", "--force", "--wait=false"];
        kubectl(&args).await?.text()?;
        Ok(())
    }

    /// Waits until a pod holds the Lease of which `accept` says yes, and names it.
    ///
    /// # Errors
    /// When none does `within` this time.
    pub async fn leader(&self, within: Duration, accept: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let holder = |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone();
        let led =
            |lease: Option<&Lease>| lease.and_then(holder).is_some_and(|holder| !holder.is_empty() && accept(&holder));
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = await_object(api, LEASE, "a pod of the operator leads", within, led).await?;
        lease.as_ref().and_then(holder).context("a Lease that is held has a holder")
    }

    /// Writes that somebody else has just renewed the Lease.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn hand_lease_to(&self, holder: &str) -> anyhow::Result<()> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = json!({"spec": {"holderIdentity": holder}});
        api.patch(LEASE, &PatchParams::default(), &Patch::Merge(patch)).await.context("the Lease was not written")?;
        Ok(())
    }

    /// The sum of a counter's series over all pods, from their metrics.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn counter(&self, name: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for pod in self.pods().await? {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:8080/proxy/metrics", pod.name_any());
            let text = kubectl(&["get", "--raw", &path]).await?.text()?;
            let series = text.lines().filter(|line| line.starts_with(name));
            sum += series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
        }
        Ok(sum)
    }
}
