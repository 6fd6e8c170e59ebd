//! Tokens and cost: what one call used, and what a run adds up to.

use serde::Serialize;

use crate::money::Money;

/// Tokens of one model call, as the server counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Tokens of the reply.
    pub output: u64,
    /// Tokens of the prompt that the server had cached.
    pub cached: u64,
}

/// Tokens and cost of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens of all prompts.
    pub tokens_in: u64,
    /// Tokens of all replies.
    pub tokens_out: u64,
    /// Cached tokens of all prompts.
    pub tokens_cached: u64,
    /// What it cost by the prices of the Providers; models without a price cost nothing.
    pub cost: Money,
    /// The currency of `cost`.
    pub currency: Currency,
    /// Whether some server did not count, for example because its reply broke off, so that these are estimates.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// The same by model and role, in the order of their first call.
    pub by_model: Vec<ModelUsage>,
}

/// The currency of prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Currency {
    /// US dollars.
    #[default]
    #[serde(rename = "USD")]
    UsDollar,
}

/// Tokens and cost of one model in one role within a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelUsage {
    /// Name of the Provider.
    pub provider: String,
    /// Name of the model.
    pub model: String,
    /// The role in which it was called.
    pub role: String,
    /// Calls of which some reply came.
    pub calls: u64,
    /// Tokens of its prompts.
    pub tokens_in: u64,
    /// Tokens of its replies.
    pub tokens_out: u64,
    /// Cached tokens of its prompts.
    pub tokens_cached: u64,
    /// What it cost.
    pub cost: Money,
}

/// One call to book.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Name of the Provider.
    pub provider: &'a str,
    /// Name of the model.
    pub model: &'a str,
    /// The role in which it was called.
    pub role: &'a str,
    /// What it used.
    pub tokens: Tokens,
    /// What that costs.
    pub cost: Money,
    /// Whether the tokens are an estimate of ours.
    pub estimated: bool,
}

impl Usage {
    /// Adds another usage to this one.
    pub fn merge(&mut self, other: Self) {
        let Self { tokens_in, tokens_out, tokens_cached, cost, currency: _, estimated, by_model } = other;
        self.tokens_in = self.tokens_in.saturating_add(tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(tokens_out);
        self.tokens_cached = self.tokens_cached.saturating_add(tokens_cached);
        self.cost += cost;
        self.estimated |= estimated;
        for used in by_model {
            let same = |entry: &&mut ModelUsage| {
                entry.provider == used.provider && entry.model == used.model && entry.role == used.role
            };
            match self.by_model.iter_mut().find(same) {
                Some(entry) => {
                    entry.calls += used.calls;
                    entry.tokens_in += used.tokens_in;
                    entry.tokens_out += used.tokens_out;
                    entry.tokens_cached += used.tokens_cached;
                    entry.cost += used.cost;
                }
                None => self.by_model.push(used),
            }
        }
    }

    /// Books one call.
    pub fn add(&mut self, call: Call<'_>) {
        let Call { provider, model, role, tokens, cost, estimated } = call;
        self.tokens_in += tokens.input;
        self.tokens_out += tokens.output;
        self.tokens_cached += tokens.cached;
        self.cost += cost;
        self.estimated |= estimated;
        let same = |entry: &&mut ModelUsage| entry.provider == provider && entry.model == model && entry.role == role;
        let entry = match self.by_model.iter_mut().find(same) {
            Some(entry) => entry,
            None => self.by_model.push_mut(ModelUsage {
                provider: provider.to_owned(),
                model: model.to_owned(),
                role: role.to_owned(),
                calls: 0,
                tokens_in: 0,
                tokens_out: 0,
                tokens_cached: 0,
                cost: Money::default(),
            }),
        };
        entry.calls += 1;
        entry.tokens_in += tokens.input;
        entry.tokens_out += tokens.output;
        entry.tokens_cached += tokens.cached;
        entry.cost += cost;
    }
}
