//! The document and the trust, as files of the pods; beside them what was applied, and where to ask for attention.

use std::collections::BTreeMap;

use agent_pod_config::{OPERATOR_FILE, OperatorAddress};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{Validated, metadata};
use crate::names::{DOCUMENT_KEY, PODS_KEY, TRUST_KEY};

pub(super) fn build(agent: &Validated, attention: Option<&OperatorAddress>) -> ConfigMap {
    let mut data = BTreeMap::from([
        (DOCUMENT_KEY.to_owned(), agent.document_text.clone()),
        (TRUST_KEY.to_owned(), agent.trust.text.clone()),
    ]);
    let others = [
        (PODS_KEY, serde_json::to_string(&agent.pods).ok()),
        (OPERATOR_FILE, attention.and_then(|address| serde_json::to_string(address).ok())),
    ];
    data.extend(others.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))));
    ConfigMap { metadata: metadata(agent), data: Some(data), ..ConfigMap::default() }
}
