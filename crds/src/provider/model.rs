//! What is known of a Provider's models.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal::DecimalString;
use crate::rules;

/// A model that the server offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderModel {
    /// The name by which the server knows it.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Tokens of question and answer together; absent: unknown, and nothing is turned away for its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub context_window: Option<u64>,
    /// What it can do beside answering text with text; absent: tools; an empty list: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub capabilities: Option<Vec<Capability>>,
    /// How good its answers are, from 0 to 100, for the strategy `quality_first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub quality: Option<u8>,
    /// What it costs, for the strategy `cost_optimized` and the cost in answers; absent: nothing at a self-hosted type, unknown at `openai_compat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// What a model can do beside answering text with text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// It asks for tools.
    Tools,
    /// It sees images.
    Vision,
    /// Its server holds it to a JSON schema.
    JsonSchema,
}

/// What a model costs, in US dollars for a million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// Tokens of the prompt, for example `0.15`.
    #[x_kube(validation = rules::dollars("price.inputPerMillion"))]
    pub input_per_million: DecimalString,
    /// Tokens of the reply.
    #[x_kube(validation = rules::dollars("price.outputPerMillion"))]
    pub output_per_million: DecimalString,
    /// Tokens of the prompt that the server had cached; absent: as others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::dollars("price.cachedInputPerMillion"))]
    pub cached_input_per_million: Option<DecimalString>,
}
