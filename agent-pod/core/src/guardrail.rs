//! Guardrails: rules that questions, tool results and answers are held against.
//!
//! Rules are compiled when an agent is loaded, and pure: the same text gives the same result, however it is cut into
//! pieces. They are gone through in their order, each seeing what the one before has left. A rule that fails to run
//! blocks.

mod escape;
mod flow;
mod glyph;
mod pattern;
mod phrase;
mod pii;
mod rule;
mod scan;
mod screening;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use flow::Flow;
pub use pattern::PatternError;
pub use pii::Entity;
pub use rule::{CheckSettings, Rule, RuleSettings};
pub use scan::WINDOW;
pub use screening::ScreenedJson;

/// Which way a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the model.
    Input,
    /// To the caller and the memory.
    Output,
}

impl Direction {
    /// Its name in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// What a rule looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Personal data.
    PiiDetection,
    /// What the conversation is about.
    TopicFilter,
    /// How long a text is.
    MaxLength,
    /// Words and patterns.
    ContentFilter,
    /// What the run has used.
    CostLimit,
}

impl Kind {
    /// Its name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PiiDetection => "pii_detection",
            Self::TopicFilter => "topic_filter",
            Self::MaxLength => "max_length",
            Self::ContentFilter => "content_filter",
            Self::CostLimit => "cost_limit",
        }
    }
}

/// What happens when a rule has found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A placeholder takes its place.
    Redact,
    /// The run ends.
    Block,
    /// The text passes, and the answer says so.
    Warn,
    /// The text is cut.
    Truncate,
}

impl Action {
    /// Its name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redact => "redact",
            Self::Block => "block",
            Self::Warn => "warn",
            Self::Truncate => "truncate",
        }
    }
}

/// A rule has found something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hit {
    /// Which way the text went.
    pub direction: Direction,
    /// What the rule looks for.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What has happened.
    pub action: Action,
    /// What was found, in words that a caller may read.
    pub reason: String,
}

/// A rule has ended the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it has found.
    pub hit: Hit,
    /// The rule's message: the answer of the run.
    pub message: String,
}

/// What is held against the rules; not every rule is for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// What the user says now.
    Message,
    /// What the caller brings beside it: variables of the prompt, its own tools. How long it is has no bound here.
    Context,
    /// What was said before and is brought by the caller: a rule that blocks withholds it, and the run goes on.
    History,
    /// What a tool has said to the model.
    ToolResult,
    /// The answer.
    Answer,
    /// What callers see of the way to it; how long it is bounds the answer alone.
    Step,
}

/// A text that was held against the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screened {
    /// What has become of it.
    pub text: String,
    /// What was found.
    pub hits: Vec<Hit>,
    /// Whether a rule blocks it.
    pub block: Option<Block>,
}

/// The rules of an agent.
#[derive(Clone, Debug, Default)]
pub struct Guardrails {
    input: Arc<[Rule]>,
    output: Arc<[Rule]>,
}

impl Guardrails {
    /// These rules.
    #[must_use]
    pub fn new(input: Vec<Rule>, output: Vec<Rule>) -> Self {
        Self { input: input.into(), output: output.into() }
    }

    /// Whether both are the same compiled rules, not only equal ones.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.input, &other.input) && Arc::ptr_eq(&self.output, &other.output)
    }

    /// Holds a whole text against the rules, at once: for texts that are known to be short.
    #[must_use]
    pub fn screen(&self, subject: Subject, text: &str) -> Screened {
        let mut flow = self.flow(subject);
        let text = flow.feed(text, true);
        let (hits, block) = flow.into_result();
        Screened { text, hits, block }
    }

    /// Whether there are rules for texts of this sort.
    #[must_use]
    pub fn screens(&self, subject: Subject) -> bool {
        let (_, rules) = self.rules(subject);
        rules.iter().any(|rule| rule.sees(subject))
    }

    /// A text under way past the rules.
    #[must_use]
    pub fn flow(&self, subject: Subject) -> Flow {
        let (direction, rules) = self.rules(subject);
        Flow::new(Arc::clone(rules), direction, subject)
    }

    fn rules(&self, subject: Subject) -> (Direction, &Arc<[Rule]>) {
        match subject {
            Subject::Message | Subject::Context | Subject::History | Subject::ToolResult => {
                (Direction::Input, &self.input)
            }
            Subject::Answer | Subject::Step => (Direction::Output, &self.output),
        }
    }

    /// The most tokens of a run, by the strictest rule.
    #[must_use]
    pub fn tokens_max(&self) -> Option<u64> {
        self.input.iter().chain(self.output.iter()).filter_map(Rule::tokens_max).min()
    }

    /// The rule that allows no further model call of a run that has used so many tokens.
    #[must_use]
    pub fn over_budget(&self, used: u64) -> Option<Block> {
        let both = [(Direction::Input, &self.input), (Direction::Output, &self.output)];
        both.into_iter().flat_map(|(direction, rules)| rules.iter().map(move |rule| (direction, rule))).find_map(
            |(direction, rule)| {
                let budget = rule.tokens_max().filter(|budget| used > *budget)?;
                Some(rule.block(direction, format!("token budget {budget} exceeded ({used})")))
            },
        )
    }
}

#[cfg(test)]
mod tests;
