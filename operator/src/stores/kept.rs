//! What is kept of an object that the operator watches: its place, and what matters of it. There are thousands of them, and an
//! object of the API takes kilobytes.

use std::borrow::Cow;
use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Resource;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Lookup;

use crate::applier::{self, ChildKind};
use crate::names::ObjectKey;
use crate::pods::{self, PodView, Trouble, not_made};

/// What is kept of an `R`.
#[derive(Debug)]
pub struct Kept<R, V> {
    /// Its place.
    pub key: ObjectKey,
    /// What matters of it.
    pub value: V,
    resource: PhantomData<fn() -> R>,
}

impl<R, V: Clone> Clone for Kept<R, V> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: self.value.clone(), resource: PhantomData }
    }
}

/// Stores know it as the object that it was. Its version and uid are in nobody's interest.
impl<R: Resource<DynamicType = ()>, V> Lookup for Kept<R, V> {
    type DynamicType = ();

    fn kind((): &()) -> Cow<'_, str> {
        R::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        R::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        R::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        R::plural(&())
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.key.name))
    }

    fn namespace(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.key.namespace))
    }

    fn resource_version(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn uid(&self) -> Option<Cow<'_, str>> {
        None
    }
}

impl<R, V> Kept<R, V> {
    fn new(object: &impl Resource, value: V) -> Self {
        Self { key: ObjectKey::of(object), value, resource: PhantomData }
    }
}

/// The `resourceVersion`, which suffices of most objects.
pub type Version = Option<String>;

impl<R: Resource<DynamicType = ()>> Kept<R, Version> {
    /// Keeps the version.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the object ends here")]
    pub fn version(object: PartialObjectMeta<R>) -> Self {
        Self::new(&object, object.metadata.resource_version.clone())
    }
}

/// What matters of a Deployment.
#[derive(Clone, Debug)]
pub struct DeploymentView {
    /// See [`applier::version`].
    pub version: Option<String>,
    /// How far it has come.
    pub progress: Progress,
}

impl Kept<Deployment, DeploymentView> {
    /// Keeps what matters of a Deployment.
    #[must_use]
    pub fn deployment(mut deployment: Deployment) -> Self {
        let version = applier::version(ChildKind::Deployment, &deployment.metadata);
        let progress = Progress::of(deployment.status.take().unwrap_or_default());
        Self::new(&deployment, DeploymentView { version, progress })
    }
}

/// What the status of a Deployment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The generation that it speaks of.
    pub observed_generation: i64,
    /// Pods, old ones included.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that are available.
    pub available: i32,
    /// Whether it has given up: its progress deadline is over.
    pub deadline_exceeded: bool,
    /// Whether its newest template has come up once. From then on its controller keeps no deadline.
    pub came_up: bool,
    /// Why pods cannot be created, if so.
    pub not_made: Option<Trouble>,
}

impl Progress {
    /// Reads a status.
    #[must_use]
    pub fn of(status: DeploymentStatus) -> Self {
        let conditions = status.conditions.unwrap_or_default();
        let condition = |type_: &str, status: &str| {
            conditions.iter().find(|condition| condition.type_ == type_ && condition.status == status)
        };
        let gave_up = condition("Progressing", "False").and_then(|condition| condition.reason.as_deref());
        let progress = condition("Progressing", "True").and_then(|condition| condition.reason.as_deref());
        let refused = condition("ReplicaFailure", "True").and_then(|condition| condition.message.as_deref());
        Self {
            observed_generation: status.observed_generation.unwrap_or(0),
            replicas: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            deadline_exceeded: gave_up == Some("ProgressDeadlineExceeded"),
            came_up: progress == Some("NewReplicaSetAvailable"),
            not_made: refused.map(not_made),
        }
    }
}

/// What matters of a volume.
#[derive(Clone, Debug)]
pub struct ClaimView {
    /// Its `resourceVersion`.
    pub version: Version,
    /// Whether it waits for a volume.
    pub pending: bool,
    /// Its storage class.
    pub class: Option<String>,
}

impl Kept<PersistentVolumeClaim, ClaimView> {
    /// Keeps what matters of a volume.
    #[must_use]
    pub fn claim(mut claim: PersistentVolumeClaim) -> Self {
        let phase = claim.status.take().and_then(|status| status.phase);
        let view = ClaimView {
            version: claim.metadata.resource_version.clone(),
            pending: phase.is_none_or(|phase| phase == "Pending"),
            class: claim.spec.take().and_then(|spec| spec.storage_class_name),
        };
        Self::new(&claim, view)
    }
}

/// What matters of a pod.
#[derive(Clone, Debug)]
pub struct OwnedPod {
    /// The agent whose pod it is.
    pub agent: Option<ObjectKey>,
    /// The pod; absent when it has ended or is being deleted.
    pub view: Option<PodView>,
}

impl Kept<Pod, OwnedPod> {
    /// Keeps what matters of a pod.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the object ends here")]
    pub fn pod(pod: Pod) -> Self {
        Self::new(&pod, OwnedPod { agent: pods::agent_of(&pod), view: PodView::of(&pod) })
    }
}
