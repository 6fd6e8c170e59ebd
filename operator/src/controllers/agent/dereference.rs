//! Everything that an agent refers to, from the stores. A call goes out for a text that has changed, and for nothing else.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::{ConfigMaps, NamespaceLabels};
use astromesh_crds::v1alpha1::{Agent, AgentStatus, AllowedFrom, Provider};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::Context;
use crate::names::{ObjectKey, config_map_of, providers_of};
use crate::pods::{PodReport, Trouble, not_set_up};
use crate::texts::TextError;
use crate::trust::TrustState;

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
    /// Its pods that are not being deleted, by name, and what they have said.
    pub pods: Vec<PodReport>,
    /// Why its volume is not bound yet, if so.
    pub volume: Option<Trouble>,
    /// The cluster's token keys.
    pub trust: TrustState,
    /// Why not all that it names can be seen, if so: the operator lacks a permission.
    pub unreadable: Option<String>,
    /// Why changes that others make to its children cannot be seen, if so.
    pub unwatched: Option<String>,
    /// Whether a server has refused a pod's credential so shortly ago that a new value may be on its way.
    pub refused_just_now: bool,
}

/// How long a node may take to set a pod up before it is told.
pub const SET_UP_WITHIN: Duration = Duration::from_secs(10);
/// How long the new value of a Secret may take to reach a pod whose credential is refused. A nudge takes less than a second.
pub const MENDED_WITHIN: Duration = Duration::from_secs(5);

impl Inputs {
    /// Whether a node is setting a pod up, which may turn out to take too long.
    #[must_use]
    pub fn is_being_set_up(&self) -> bool {
        self.pods.iter().any(|report| report.pod.set_up_since.is_some() && report.pod.trouble.is_none())
    }
}

/// Whether it depends on the labels of `namespace` if its agents may use a provider.
#[must_use]
pub fn asks_for_labels(provider: &Provider, namespace: &str) -> bool {
    let elsewhere = provider.metadata.namespace.as_deref() != Some(namespace);
    elsewhere && provider.spec.allowed_namespaces.from == AllowedFrom::Selector
}

/// An agent's pods; those that their node cannot set up have that as their trouble.
fn pods(ctx: &Context, agent: &ObjectKey) -> Vec<PodReport> {
    let mut pods = ctx.pods.of(agent);
    for PodReport { pod, .. } in &mut pods {
        let waited = pod.set_up_since.map(|since| Timestamp::now().duration_since(since));
        if waited.is_some_and(|waited| waited.as_secs() >= SET_UP_WITHIN.as_secs().cast_signed())
            && pod.trouble.is_none()
        {
            pod.trouble = Some(not_set_up(&pod.key.name));
        }
    }
    pods
}

/// Looks everything up.
///
/// # Errors
/// When a text cannot be read.
pub async fn dereference(agent: Arc<Agent>, ctx: &Context) -> Result<Inputs, TextError> {
    let (config_maps, unread) = match ctx.texts.of(&agent, &ctx.stores).await {
        Ok(config_maps) => (config_maps, None),
        // Told as every other permission that is missing.
        Err(denied @ TextError::Denied(_)) => (ConfigMaps::new(), Some(denied.to_string())),
        Err(error) => return Err(error),
    };
    let key = ObjectKey::of(agent.as_ref());
    let providers: Vec<_> = providers_of(&agent)
        .into_iter()
        .filter_map(|provider| ctx.stores.provider(&provider))
        .filter(|provider| provider.metadata.deletion_timestamp.is_none())
        .collect();
    let permissions = &ctx.stores.permissions;
    let persistent = agent.spec.memory.as_ref().is_some_and(|memory| memory.persistence.is_some());
    let namespaces = ctx.stores.labels(&key.namespace);
    let by_labels = namespaces.is_empty() && providers.iter().any(|provider| asks_for_labels(provider, &key.namespace));
    let pods = pods(ctx, &key);
    let just_now = |since: Instant| since.elapsed() < MENDED_WITHIN;
    Ok(Inputs {
        previous: ctx.statuses.live(agent.as_ref(), || ctx.stores.agent(&key)),
        trust: ctx.trust.borrow().clone(),
        peers: ctx.stores.called_by(&agent),
        refused_just_now: pods.iter().any(|report| report.refused_since.is_some_and(just_now)),
        namespaces,
        pods,
        volume: ctx.stores.volume(&key),
        unreadable: permissions.to_read(config_map_of(&agent).is_some(), by_labels).or(unread),
        unwatched: permissions.to_watch(persistent),
        agent,
        key,
        config_maps,
        providers,
    })
}
