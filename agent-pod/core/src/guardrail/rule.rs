//! One rule, compiled.

use std::sync::Arc;

use super::pattern::{PatternError, Patterns};
use super::phrase::{Naming, Phrases};
use super::pii::{Entity, Pii};
use super::scan::OnFound;
use super::{Action, Block, Direction, Hit, Kind, Subject};

/// The answer of a run that a rule without a message of its own blocks.
const MESSAGE: &str = "I can't help with that request.";

/// What a rule is made of.
#[derive(Clone, Debug)]
pub struct RuleSettings {
    /// What it looks for.
    pub check: CheckSettings,
    /// What happens then.
    pub action: Action,
    /// The answer of a run that it blocks; absent: a sentence of ours.
    pub message: Option<String>,
    /// Whether an input rule sees what the user says.
    pub messages: bool,
    /// Whether an input rule sees what tools say.
    pub tool_results: bool,
}

/// What a rule looks for.
#[derive(Clone, Debug)]
pub enum CheckSettings {
    /// Personal data of these sorts.
    Pii(Vec<Entity>),
    /// These words and phrases.
    Topics(Vec<String>),
    /// More characters than so many.
    MaxLength(usize),
    /// These words and phrases, and what these regular expressions match.
    Content {
        /// Words and phrases.
        keywords: Vec<String>,
        /// Regular expressions.
        patterns: Vec<String>,
    },
    /// More tokens than so many.
    CostLimit(u64),
    /// Fails to run.
    #[cfg(any(test, feature = "testing"))]
    Faulty,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) check: Arc<Check>,
    pub(super) action: Action,
    message: String,
    messages: bool,
    tool_results: bool,
}

/// What a rule looks for, compiled.
#[derive(Debug)]
pub(super) enum Check {
    Pii(Pii),
    Topics(Phrases),
    MaxLength(usize),
    Content {
        keywords: Option<Phrases>,
        patterns: Option<Patterns>,
    },
    CostLimit(u64),
    #[cfg(any(test, feature = "testing"))]
    Faulty,
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// The first regular expression that cannot be used.
    pub fn compile(settings: RuleSettings) -> Result<Self, PatternError> {
        let RuleSettings { check, action, message, messages, tool_results } = settings;
        let check = match check {
            CheckSettings::Pii(entities) => Check::Pii(Pii::of(&entities)),
            CheckSettings::Topics(topics) => Check::Topics(Phrases::new(&topics, Naming::Topic)),
            CheckSettings::MaxLength(characters) => Check::MaxLength(characters),
            CheckSettings::Content { keywords, patterns } => Check::Content {
                keywords: (!keywords.is_empty()).then(|| Phrases::new(&keywords, Naming::Keyword)),
                patterns: if patterns.is_empty() { None } else { Some(Patterns::compile(&patterns)?) },
            },
            CheckSettings::CostLimit(tokens) => Check::CostLimit(tokens),
            #[cfg(any(test, feature = "testing"))]
            CheckSettings::Faulty => Check::Faulty,
        };
        let message = message.unwrap_or_else(|| MESSAGE.to_owned());
        Ok(Self { check: Arc::new(check), action, message, messages, tool_results })
    }

    pub(super) fn kind(&self) -> Kind {
        match *self.check {
            Check::Pii(_) => Kind::PiiDetection,
            Check::Topics(_) => Kind::TopicFilter,
            Check::MaxLength(_) => Kind::MaxLength,
            Check::Content { .. } => Kind::ContentFilter,
            Check::CostLimit(_) => Kind::CostLimit,
            #[cfg(any(test, feature = "testing"))]
            Check::Faulty => Kind::ContentFilter,
        }
    }

    /// Whether texts of this sort are held against it.
    pub(super) fn sees(&self, subject: Subject) -> bool {
        let (reads, counts) = (!matches!(*self.check, Check::CostLimit(_)), matches!(*self.check, Check::MaxLength(_)));
        reads
            && match subject {
                Subject::Message => self.messages,
                Subject::Context => self.messages && !counts,
                Subject::History => self.messages && !counts && self.action != Action::Warn,
                Subject::ToolResult => self.tool_results,
                Subject::Answer => true,
                Subject::Step => !counts,
            }
    }

    /// How much more a character costs it than other rules.
    pub(super) fn cost(&self) -> usize {
        match &*self.check {
            Check::Content { patterns: Some(patterns), .. } => patterns.cost(),
            Check::Content { patterns: None, .. }
            | Check::Pii(_)
            | Check::Topics(_)
            | Check::MaxLength(_)
            | Check::CostLimit(_) => 0,
            #[cfg(any(test, feature = "testing"))]
            Check::Faulty => 0,
        }
    }

    /// The fewest bytes of a text in which it finds anything.
    pub(super) fn shortest(&self) -> usize {
        match &*self.check {
            Check::Pii(_) => Pii::SHORTEST,
            Check::Topics(topics) => topics.shortest(),
            Check::Content { keywords, patterns } => match (keywords, patterns) {
                (Some(keywords), None) => keywords.shortest(),
                (_, _) => 0,
            },
            Check::MaxLength(_) | Check::CostLimit(_) => 0,
            #[cfg(any(test, feature = "testing"))]
            Check::Faulty => 0,
        }
    }

    pub(super) fn tokens_max(&self) -> Option<u64> {
        match *self.check {
            Check::CostLimit(tokens) => Some(tokens),
            Check::Pii(_) | Check::Topics(_) | Check::MaxLength(_) | Check::Content { .. } => None,
            #[cfg(any(test, feature = "testing"))]
            Check::Faulty => None,
        }
    }

    pub(super) fn on_found(&self) -> OnFound {
        match self.action {
            Action::Redact | Action::Truncate => OnFound::Replace,
            Action::Warn => OnFound::Keep,
            Action::Block => OnFound::Stop,
        }
    }

    pub(super) fn hit(&self, direction: Direction, reason: String) -> Hit {
        Hit { direction, kind: self.kind(), action: self.action, reason }
    }

    pub(super) fn block(&self, direction: Direction, reason: String) -> Block {
        Block { hit: Hit { action: Action::Block, ..self.hit(direction, reason) }, message: self.message.clone() }
    }
}
