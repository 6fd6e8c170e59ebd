//! In which order candidates are tried. Pure.

use std::cmp::Ordering;
use std::time::Duration;

use crate::money::Money;

/// The strategies; the names are those of manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// By the estimated price of the request at hand, the cheapest first; one whose price is unknown comes last.
    #[default]
    CostOptimized,
    /// By the average time to the first token, the fastest first; those not measured yet come before.
    LatencyOptimized,
    /// By quality, the highest first; one without comes last.
    QualityFirst,
    /// Each in its turn.
    RoundRobin,
    /// As declared.
    CapabilityMatch,
}

/// What a model can do beside answering text with text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It asks for tools.
    pub tools: bool,
    /// It sees images.
    pub vision: bool,
    /// Its server holds it to a JSON schema.
    pub json_schema: bool,
}

/// What a request needs of the model that answers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// What it must be able to do.
    pub capabilities: Capabilities,
    /// Tokens of the request, as far as they can be counted beforehand.
    pub input_tokens: u64,
}

/// What a candidate lacks for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It does not ask for tools.
    Tools,
    /// It sees no images.
    Vision,
    /// Its server holds it to no JSON schema.
    JsonSchema,
    /// The request is longer than what it takes in.
    Context,
}

/// A candidate as the ranking sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CandidateView {
    /// What it can do.
    pub capabilities: Capabilities,
    /// Tokens of question and answer together; unknown: whatever comes.
    pub context_window: Option<u64>,
    /// Tokens that its answer may have, where a limit is set.
    pub output_tokens: Option<u64>,
    /// What the request would cost; unknown for a remote one without a price.
    pub cost: Option<Money>,
    /// Average time to its first token, once it has been measured.
    pub latency: Option<Duration>,
    /// 0 to 100, where somebody has said so.
    pub quality: Option<u8>,
}

impl Capabilities {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            tools: self.tools || other.tools,
            vision: self.vision || other.vision,
            json_schema: self.json_schema || other.json_schema,
        }
    }
}

impl CandidateView {
    /// What it lacks, first of all.
    #[must_use]
    pub fn lack(&self, need: &Need) -> Option<Lack> {
        let Need { capabilities: wanted, input_tokens } = need;
        let room = self.context_window.map(|window| window.saturating_sub(self.output_tokens.unwrap_or_default()));
        if wanted.vision && !self.capabilities.vision {
            Some(Lack::Vision)
        } else if wanted.tools && !self.capabilities.tools {
            Some(Lack::Tools)
        } else if wanted.json_schema && !self.capabilities.json_schema {
            Some(Lack::JsonSchema)
        } else {
            room.filter(|room| input_tokens > room).map(|_| Lack::Context)
        }
    }
}

/// The order in which `candidates` are tried, as indices of them.
///
/// A permutation of those given: whoever calls leaves out those that cannot serve. Ties keep the order of declaration.
/// `rotation` counts the requests so far, for [`Strategy::RoundRobin`].
#[must_use]
pub fn rank(candidates: &[CandidateView], strategy: Strategy, rotation: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    match strategy {
        Strategy::CapabilityMatch => {}
        Strategy::RoundRobin if candidates.is_empty() => {}
        Strategy::RoundRobin => order.rotate_left(rotation % candidates.len()),
        Strategy::CostOptimized => order.sort_by(by(candidates, |a, b| unknown_last(a.cost, b.cost))),
        // `None` is less than any time: unmeasured ones come first.
        Strategy::LatencyOptimized => order.sort_by(by(candidates, |a, b| a.latency.cmp(&b.latency))),
        Strategy::QualityFirst => order.sort_by(by(candidates, |a, b| b.quality.cmp(&a.quality))),
    }
    order
}

fn by<'a>(
    candidates: &'a [CandidateView],
    compare: impl Fn(&CandidateView, &CandidateView) -> Ordering + 'a,
) -> impl Fn(&usize, &usize) -> Ordering + 'a {
    move |a, b| match (candidates.get(*a), candidates.get(*b)) {
        (Some(a), Some(b)) => compare(a, b),
        (None, _) | (_, None) => Ordering::Equal,
    }
}

fn unknown_last(a: Option<Money>, b: Option<Money>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests;
