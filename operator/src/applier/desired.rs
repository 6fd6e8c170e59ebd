//! A child as it shall be.

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use kube::api::ApiResource;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::names::{APPLIED_ANNOTATION, ObjectKey};

/// The kinds of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// The document and the trust.
    ConfigMap,
    /// Who the pods are.
    ServiceAccount,
    /// Where callers find the pods.
    Service,
    /// What the pods keep on disk.
    PersistentVolumeClaim,
    /// The pods.
    Deployment,
}

impl ChildKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::ConfigMap, Self::ServiceAccount, Self::Service, Self::PersistentVolumeClaim, Self::Deployment];

    /// How the API server knows it.
    #[must_use]
    pub fn api_resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::PersistentVolumeClaim => ApiResource::erase::<PersistentVolumeClaim>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
        }
    }
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Deployment => "Deployment",
        })
    }
}

/// A child as it shall be, with its own hash as an annotation.
///
/// The hash catches what a comparison of fields cannot: a field that is not desired any more is still on the live
/// object, and only an apply without it removes it.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Its kind.
    pub kind: ChildKind,
    /// Its place.
    pub key: ObjectKey,
    /// SHA-256 of it.
    pub hash: [u8; 32],
    /// What is applied.
    pub value: Value,
}

impl Desired {
    /// The child as JSON, marked with its hash.
    ///
    /// # Panics
    /// Never for objects of the Kubernetes API: they have string keys and finite numbers only.
    #[must_use]
    pub fn new(kind: ChildKind, child: &(impl Serialize + kube::ResourceExt)) -> Self {
        let mut value = serde_json::to_value(child).expect("a Kubernetes object is JSON");
        let hash = Sha256::digest(value.to_string()).into();
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Value::Object(annotations) = annotations {
                annotations.insert(APPLIED_ANNOTATION.to_owned(), Value::String(hex::encode(hash)));
            }
        }
        Self { kind, key: ObjectKey::of(child), hash, value }
    }
}
