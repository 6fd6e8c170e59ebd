//! Tokens: what one call used, and what a run adds up to.

use serde::Serialize;

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

/// Tokens of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens of all prompts.
    pub tokens_in: u64,
    /// Tokens of all replies.
    pub tokens_out: u64,
    /// Cached tokens of all prompts.
    pub tokens_cached: u64,
    /// The same by model, in the order of their first call.
    pub by_model: Vec<ModelUsage>,
}

/// Tokens of one model within a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelUsage {
    /// Name of the Provider.
    pub provider: String,
    /// Name of the model.
    pub model: String,
    /// The role in which it was called.
    pub role: &'static str,
    /// Calls that it answered.
    pub calls: u64,
    /// Tokens of its prompts.
    pub tokens_in: u64,
    /// Tokens of its replies.
    pub tokens_out: u64,
    /// Cached tokens of its prompts.
    pub tokens_cached: u64,
}

impl Usage {
    /// Books one call.
    pub fn add(&mut self, provider: &str, model: &str, tokens: Tokens) {
        self.tokens_in += tokens.input;
        self.tokens_out += tokens.output;
        self.tokens_cached += tokens.cached;
        let known = self.by_model.iter().position(|entry| entry.provider == provider && entry.model == model);
        let index = known.unwrap_or_else(|| {
            self.by_model.push(ModelUsage {
                provider: provider.to_owned(),
                model: model.to_owned(),
                role: "default",
                calls: 0,
                tokens_in: 0,
                tokens_out: 0,
                tokens_cached: 0,
            });
            self.by_model.len() - 1
        });
        if let Some(entry) = self.by_model.get_mut(index) {
            entry.calls += 1;
            entry.tokens_in += tokens.input;
            entry.tokens_out += tokens.output;
            entry.tokens_cached += tokens.cached;
        }
    }
}
