//! What an agent's pods request and may use.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use kube::core::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::rules;

/// What a pod requests and may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = within_limit("cpu", "10m", None))]
#[x_kube(validation = within_limit("memory", "32Mi", Some("256Mi")))]
#[x_kube(validation = devices())]
pub struct Resources {
    /// What the scheduler reserves (default 10m CPU and 32Mi of memory).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Amount>", extend("maxProperties" = 8))]
    #[x_kube(validation = names("runtime.resources.requests"))]
    #[x_kube(validation = amounts("runtime.resources.requests"))]
    pub requests: BTreeMap<String, Quantity>,
    /// What the pod may not exceed (default 256Mi of memory).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Amount>", extend("maxProperties" = 8))]
    #[x_kube(validation = names("runtime.resources.limits"))]
    #[x_kube(validation = amounts("runtime.resources.limits"))]
    pub limits: BTreeMap<String, Quantity>,
}

/// The schema of a quantity, in fewer words than those of Kubernetes.
struct Amount;

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, with a unit where need be: `250m` or `2` of CPU, `512Mi` or `1Gi` of memory.",
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "minimum": 0,
        })
    }
}

/// Texts that are amounts: neither negative, nor too large to be compared.
const AMOUNT: &str = "^[0-9]{1,12}([.][0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$";

/// CEL that is true of a text; the other values are integers. It is asked so because `type()` is not everywhere.
fn is_text(value: &str) -> String {
    format!("{value} == string({value})")
}

/// CEL that is true of an amount that is a text; others are false.
fn is_amount(value: &str) -> String {
    format!("{} && {value}.matches('{AMOUNT}')", is_text(value))
}

fn amounts(field: &str) -> Rule {
    // The schema has the bound of integers.
    let good = format!("({} ? self[key].matches('{AMOUNT}') : true)", is_text("self[key]"));
    rules::each_value(
        field,
        &good,
        "use a number, with m, k, M, G, T, P, Ki, Mi, Gi, Ti or Pi where need be, such as 250m of cpu or 512Mi of memory",
    )
}

fn names(field: &str) -> Rule {
    let plain = "item in ['cpu', 'memory', 'ephemeral-storage'] || item.matches('^hugepages-[0-9]+[KMGT]i$')";
    let device = "item.contains('/') && !item.matches('^([^/]*[.])?kubernetes[.]io/') && !format.qualifiedName().validate(item).hasValue()";
    let says = "is not a resource of a pod: use cpu, memory, ephemeral-storage, hugepages- with a size, or the name of a device such as example.com/gpu";
    rules::each(field, &format!("({plain} || ({device}))"), says)
}

/// A request is not over its limit, where both are written alike: an integer is not compared with a text. What is absent
/// has a default.
fn within_limit(resource: &str, default_request: &str, default_limit: Option<&str>) -> Rule {
    let half = |half: &str| {
        (format!("(has(self.{half}) && '{resource}' in self.{half})"), format!("self.{half}['{resource}']"))
    };
    let ((has_request, request), (has_limit, limit)) = (half("requests"), half("limits"));
    let within = |request: &str, limit: &str| format!("quantity({request}).compareTo(quantity({limit})) <= 0");
    let of_both = format!(
        "{} && {} ? {} : ({} || {} || {request} <= {limit})",
        is_amount(&request),
        is_amount(&limit),
        within(&request, &limit),
        is_text(&request),
        is_text(&limit),
    );
    let of_request = default_limit.map_or_else(
        || "true".to_owned(),
        |default| format!("{} ? {} : true", is_amount(&request), within(&request, &format!("'{default}'"))),
    );
    let of_limit = format!("{} ? {} : true", is_amount(&limit), within(&format!("'{default_request}'"), &limit));
    let told = |has: &str, value: &str, default: &str| format!("{has} ? string({value}) : '{default}, the default'");
    rules::rule(
        &format!("{has_request} ? ({has_limit} ? ({of_both}) : ({of_request})) : ({has_limit} ? ({of_limit}) : true)"),
        format!(
            "'runtime.resources: requests.{resource} (%s) is over limits.{resource} (%s); lower the request or raise the limit'.format([{}, {}])",
            told(&has_request, &request, default_request),
            told(&has_limit, &limit, default_limit.unwrap_or("none")),
        ),
    )
}

/// What cannot be shared, as devices and huge pages, is requested as a whole.
fn devices() -> Rule {
    let shared = "!(key.contains('/') || key.startsWith('hugepages-'))";
    let requested = format!(
        "!has(self.requests) || self.requests.all(key, {shared} || (has(self.limits) && key in self.limits && self.requests[key] == self.limits[key]))"
    );
    let whole =
        "(self.limits[key] == string(self.limits[key]) ? self.limits[key].matches('^[0-9]+([KMGT]i)?$') : true)";
    let limited = format!("!has(self.limits) || self.limits.all(key, {shared} || {whole})");
    Rule::new(format!("({requested}) && ({limited})"))
        .message("runtime.resources: devices and hugepages are whole numbers, set in limits; in requests, if at all, with the same number")
}
