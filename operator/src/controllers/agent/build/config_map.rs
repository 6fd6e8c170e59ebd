//! The document and the trust, as files of the pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Validated, metadata};
use crate::names::{DOCUMENT_KEY, TRUST_KEY};

pub(super) fn build(agent: &Validated) -> ConfigMap {
    ConfigMap {
        metadata: metadata(agent),
        data: Some(BTreeMap::from([
            (DOCUMENT_KEY.to_owned(), agent.document_text.clone()),
            (TRUST_KEY.to_owned(), agent.trust.text.clone()),
        ])),
        ..ConfigMap::default()
    }
}
