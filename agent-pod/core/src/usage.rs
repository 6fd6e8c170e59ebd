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
    /// Adds what a part has used, be it another agent, whose word is all that there is for it.
    pub fn merge(&mut self, part: &Self) {
        self.tokens_in = self.tokens_in.saturating_add(part.tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(part.tokens_out);
        self.tokens_cached = self.tokens_cached.saturating_add(part.tokens_cached);
        self.cost += part.cost;
        self.estimated |= part.estimated;
        for other in &part.by_model {
            let entry = self.of(&other.provider, &other.model, &other.role);
            entry.calls = entry.calls.saturating_add(other.calls);
            entry.tokens_in = entry.tokens_in.saturating_add(other.tokens_in);
            entry.tokens_out = entry.tokens_out.saturating_add(other.tokens_out);
            entry.tokens_cached = entry.tokens_cached.saturating_add(other.tokens_cached);
            entry.cost += other.cost;
        }
    }

    /// The entry of a model in a role.
    fn of(&mut self, provider: &str, model: &str, role: &str) -> &mut ModelUsage {
        let same = |entry: &ModelUsage| entry.provider == provider && entry.model == model && entry.role == role;
        let index = self.by_model.iter().position(same).unwrap_or_else(|| {
            self.by_model.push(ModelUsage {
                provider: provider.to_owned(),
                model: model.to_owned(),
                role: role.to_owned(),
                calls: 0,
                tokens_in: 0,
                tokens_out: 0,
                tokens_cached: 0,
                cost: Money::default(),
            });
            self.by_model.len() - 1
        });
        &mut self.by_model[index]
    }

    /// Books one call.
    pub fn add(&mut self, call: Call<'_>) {
        let Call { provider, model, role, tokens, cost, estimated } = call;
        self.tokens_in = self.tokens_in.saturating_add(tokens.input);
        self.tokens_out = self.tokens_out.saturating_add(tokens.output);
        self.tokens_cached = self.tokens_cached.saturating_add(tokens.cached);
        self.cost += cost;
        self.estimated |= estimated;
        let entry = self.of(provider, model, role);
        entry.calls = entry.calls.saturating_add(1);
        entry.tokens_in = entry.tokens_in.saturating_add(tokens.input);
        entry.tokens_out = entry.tokens_out.saturating_add(tokens.output);
        entry.tokens_cached = entry.tokens_cached.saturating_add(tokens.cached);
        entry.cost += cost;
    }
}
