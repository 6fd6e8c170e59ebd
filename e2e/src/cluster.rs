//! The cluster under test.

use anyhow::Context as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

/// The audience of the tokens that agents accept.
pub const AUDIENCE: &str = "astromesh";

/// The cluster that `KUBECONFIG` names.
#[derive(Clone)]
pub struct Cluster {
    /// Its API server.
    pub client: Client,
}

impl Cluster {
    /// Connects as the administrator of the kubeconfig.
    ///
    /// # Errors
    /// When there is no cluster, or no answer.
    pub async fn connect() -> anyhow::Result<Self> {
        // The one TLS provider of the process; the next test of the same process finds it there.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::try_default().await.context("failed to read the kubeconfig; set KUBECONFIG")?;
        client.apiserver_version().await.context("the cluster of the kubeconfig does not answer")?;
        Ok(Self { client })
    }

    /// A token of a service account for agents, as an app mounts it.
    ///
    /// # Errors
    /// When the API server issues none.
    pub async fn token(&self, namespace: &str, service_account: &str) -> anyhow::Result<String> {
        self.token_for(namespace, service_account, AUDIENCE).await
    }

    /// A token of a service account for any audience.
    ///
    /// # Errors
    /// When the API server issues none.
    pub async fn token_for(&self, namespace: &str, account: &str, audience: &str) -> anyhow::Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                expiration_seconds: Some(3_600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let issued: TokenRequest = api
            .create_subresource("token", account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for service account `{account}` of `{namespace}`"))?;
        Ok(issued.status.context("an issued token has a status")?.token)
    }
}
