//! Whose agents may use a Provider.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use std::collections::BTreeMap;

use crate::rules;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The namespaces whose agents may use a Provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)").message("allowedNamespaces.selector is required with allowedNamespaces.from Selector, and only then allowed"))]
pub struct AllowedNamespaces {
    /// `Same`: the Provider's own namespace; `All`: every one; `Selector`: those with the labels of `selector` too.
    #[serde(default)]
    pub from: AllowedFrom,
    /// The labels that a namespace must have, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Which namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllowedFrom {
    /// The Provider's own namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// The Provider's own, and those with certain labels.
    Selector,
}

/// Selects namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Every one of these labels, for example `kubernetes.io/metadata.name: shop`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16, "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 63})))]
    #[x_kube(validation = rules::label_keys("allowedNamespaces.selector.matchLabels"))]
    #[x_kube(validation = rules::label_values("allowedNamespaces.selector.matchLabels"))]
    pub match_labels: BTreeMap<String, String>,
}
