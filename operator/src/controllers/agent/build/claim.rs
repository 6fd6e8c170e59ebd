//! The volume of what the pods keep on disk.
//!
//! It has the agent as its owner, as every child has, and so goes with it: a claim that outlived its agent would be
//! found by the next one of that name, with the conversations of others in it. What must outlive an agent belongs into
//! a database. An edit that takes `persistence` away leaves the claim until the agent is deleted, so that putting it back
//! loses nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Validated, metadata};

pub(super) fn build(agent: &Validated) -> Option<PersistentVolumeClaim> {
    let persistence = agent.pods.persistence.as_ref()?;
    Some(PersistentVolumeClaim {
        metadata: metadata(agent),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(persistence.size.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: persistence.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    })
}
