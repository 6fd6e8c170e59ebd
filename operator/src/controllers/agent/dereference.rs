//! Everything that an agent refers to, from the stores. A call goes out for a text that has changed, and for nothing else.

use std::sync::Arc;

use agent_pod_config::{ConfigMaps, NamespaceLabels};
use astromesh_crds::v1alpha1::{Agent, AgentStatus, Provider};
use kube::ResourceExt as _;

use super::Context;
use crate::names::{AGENT_LABEL, ObjectKey, providers_of};
use crate::pods::PodView;
use crate::texts::TextError;
use crate::trust::TrustBundle;

/// What one reconciliation sees.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its place.
    pub key: ObjectKey,
    /// Its status, as last written.
    pub previous: AgentStatus,
    /// The providers that it names and that exist.
    pub providers: Vec<Arc<Provider>>,
    /// The agents that it may call, with all that those may call in turn.
    pub peers: Vec<Arc<Agent>>,
    /// The labels of its namespace, where they are known.
    pub namespaces: NamespaceLabels,
    /// What it names in ConfigMaps, as far as they exist.
    pub config_maps: ConfigMaps,
    /// Its pods that are not being deleted, by name.
    pub pods: Vec<PodView>,
    /// The cluster's token keys; absent until they are read.
    pub trust: Option<Arc<TrustBundle>>,
}

/// Looks everything up.
///
/// # Errors
/// When a text cannot be read.
pub async fn dereference(agent: Arc<Agent>, ctx: &Context) -> Result<Inputs, TextError> {
    let config_maps = ctx.texts.of(&agent, &ctx.stores).await?;
    let key = ObjectKey::of(agent.as_ref());
    let providers = providers_of(&agent)
        .into_iter()
        .filter_map(|provider| ctx.stores.provider(&provider))
        .filter(|provider| provider.metadata.deletion_timestamp.is_none())
        .collect();
    let mut pods: Vec<_> = ctx
        .stores
        .pods
        .state_filter(|pod| {
            pod.metadata.namespace.as_deref() == Some(&key.namespace)
                && pod.labels().get(AGENT_LABEL) == Some(&key.name)
                && pod.metadata.deletion_timestamp.is_none()
        })
        .iter()
        .filter_map(|pod| PodView::of(pod))
        .collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Inputs {
        previous: ctx.statuses.live(agent.as_ref(), agent.status.as_ref()),
        trust: ctx.trust.borrow().clone(),
        peers: ctx.stores.called_by(&agent),
        namespaces: ctx.stores.labels(&key.namespace),
        agent,
        key,
        config_maps,
        providers,
        pods,
    })
}
