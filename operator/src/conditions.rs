//! Conditions as kstatus reads them.

use astromesh_crds::v1alpha1::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The longest message that the API server takes is 32768; ours stay readable.
const MESSAGE_CHARS_MAX: usize = 4_096;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be said.
    Unknown,
}

impl Status {
    /// As it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is said about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// The same for people, without anything that changes on every pass.
    pub message: String,
}

impl Verdict {
    /// It holds.
    #[must_use]
    pub fn holds(message: &str) -> Self {
        Self { status: Status::True, reason: Reason::Succeeded, message: message.to_owned() }
    }

    /// It does not hold.
    #[must_use]
    pub fn fails(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: Status::False, reason, message: message.into() }
    }

    /// It cannot be said.
    #[must_use]
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: Status::Unknown, reason, message: message.into() }
    }

    /// An abnormal state that is there. Its absence is the normal one.
    #[must_use]
    pub fn present(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: Status::True, reason, message: message.into() }
    }

    /// Whether it holds.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == Status::True
    }
}

/// Collects the conditions of one object.
///
/// `lastTransitionTime` is kept as long as the status stays the same, so that equal verdicts give equal conditions.
#[derive(Debug)]
pub struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    collected: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts with what was said before.
    #[must_use]
    pub fn new(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { previous, generation, now, collected: Vec::new() }
    }

    /// Adds a condition.
    #[must_use]
    pub fn with(mut self, type_: &str, verdict: &Verdict) -> Self {
        let status = verdict.status.as_str();
        let since = find(self.previous, type_)
            .filter(|before| before.status == status)
            .map_or_else(|| Time(self.now), |before| before.last_transition_time.clone());
        self.collected.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: verdict.message.chars().take(MESSAGE_CHARS_MAX).collect(),
            observed_generation: self.generation,
            last_transition_time: since,
        });
        self
    }

    /// Adds a condition that is absent when there is nothing to say.
    #[must_use]
    pub fn with_some(self, type_: &str, verdict: Option<&Verdict>) -> Self {
        match verdict {
            Some(verdict) => self.with(type_, verdict),
            None => self,
        }
    }

    /// All of them, in the order in which they were added.
    #[must_use]
    pub fn finish(self) -> Vec<Condition> {
        self.collected
    }
}

/// The condition of a type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_on_a_flip() {
        let first = Conditions::new(&[], Some(1), at(1)).with("Ready", &Verdict::fails(Reason::Loading, "a")).finish();
        assert_eq!(first[0].last_transition_time.0, at(1));
        let second =
            Conditions::new(&first, Some(2), at(2)).with("Ready", &Verdict::fails(Reason::LoadFailed, "b")).finish();
        assert_eq!(second[0].last_transition_time.0, at(1), "another reason is no flip");
        assert_eq!((second[0].observed_generation, second[0].reason.as_str()), (Some(2), "LoadFailed"));
        let third = Conditions::new(&second, Some(2), at(3)).with("Ready", &Verdict::holds("c")).finish();
        assert_eq!(third[0].last_transition_time.0, at(3));
    }

    #[test]
    fn what_there_is_nothing_to_say_about_is_absent() {
        let conditions = Conditions::new(&[], None, at(1)).with_some("Stalled", None).finish();
        assert!(conditions.is_empty());
    }
}
