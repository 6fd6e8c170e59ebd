//! A text on its way past the rules, in pieces.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::pattern::PatternStage;
use super::rule::{Check, Rule};
use super::scan::{OnFound, Passed, Stage};
use super::{Action, Block, Direction, Hit, Subject};

/// A text on its way past the rules. Each holds back at most [`super::WINDOW`] characters of what it has seen: what can
/// still become part of something that it looks for.
pub struct Flow {
    rules: Arc<[Rule]>,
    stages: Vec<(usize, Under)>,
    direction: Direction,
    hits: Vec<Hit>,
    block: Option<Block>,
}

/// The state of a text under a rule.
enum Under {
    Scan(Stage),
    Content(Stage, PatternStage),
    /// Characters so far.
    Length(usize),
    #[cfg(any(test, feature = "testing"))]
    Fault,
}

impl Flow {
    pub(super) fn new(rules: Arc<[Rule]>, direction: Direction, subject: Subject) -> Self {
        let stages = rules.iter().enumerate().filter(|(_, rule)| rule.sees(subject));
        let stages = stages.filter_map(|(index, rule)| Some((index, under(&rule.check)?))).collect();
        Self { rules, stages, direction, hits: Vec::new(), block: None }
    }

    /// Takes a piece in and gives what can go out. `last`: nothing more will come.
    pub fn feed(&mut self, piece: &str, last: bool) -> String {
        if self.block.is_some() {
            return String::new();
        }
        let mut text = piece.to_owned();
        for (index, under) in &mut self.stages {
            let Some(rule) = self.rules.get(*index) else { continue };
            // Fails closed: nothing has seen what a rule that failed was to see.
            let passed = catch_unwind(AssertUnwindSafe(|| run(rule, under, &text, last)));
            let Ok(Some(passed)) = passed else {
                tracing::error!(rule = rule.kind().as_str(), "a guardrail failed to run and blocks");
                self.block = Some(rule.block(self.direction, "the rule could not be run".to_owned()));
                return String::new();
            };
            text = passed.text;
            for reason in passed.found {
                let hit = rule.hit(self.direction, reason);
                if rule.action == Action::Block && self.block.is_none() {
                    self.block = Some(rule.block(self.direction, hit.reason.clone()));
                }
                if !self.hits.contains(&hit) {
                    self.hits.push(hit);
                }
            }
        }
        text
    }

    /// What has ended it.
    #[must_use]
    pub fn block(&self) -> Option<&Block> {
        self.block.as_ref()
    }

    pub(super) fn into_result(self) -> (Vec<Hit>, Option<Block>) {
        let Self { hits, block, .. } = self;
        (hits, block)
    }
}

fn under(check: &Check) -> Option<Under> {
    match check {
        Check::Pii(_) | Check::Topics(_) => Some(Under::Scan(Stage::default())),
        Check::Content { .. } => Some(Under::Content(Stage::default(), PatternStage::default())),
        Check::MaxLength(_) => Some(Under::Length(0)),
        Check::CostLimit(_) => None,
        #[cfg(any(test, feature = "testing"))]
        Check::Faulty => Some(Under::Fault),
    }
}

/// None: the state is that of another rule.
fn run(rule: &Rule, under: &mut Under, text: &str, last: bool) -> Option<Passed> {
    let on = rule.on_found();
    Some(match (&*rule.check, under) {
        (Check::Pii(pii), Under::Scan(stage)) => stage.feed(pii, text, on, last),
        (Check::Topics(topics), Under::Scan(stage)) => stage.feed(topics, text, on, last),
        (Check::Content { keywords, patterns }, Under::Content(words, places)) => {
            let mut passed = match keywords {
                Some(keywords) => words.feed(keywords, text, on, last),
                None => Passed { text: text.to_owned(), found: Vec::new() },
            };
            if let Some(patterns) = patterns {
                let then = places.feed(patterns, &passed.text, on, last);
                passed.text = then.text;
                then.found.into_iter().for_each(|what| passed.note(what));
            }
            passed
        }
        (Check::MaxLength(characters), Under::Length(so_far)) => cut(text, *characters, so_far, on),
        #[cfg(any(test, feature = "testing"))]
        (Check::Faulty, Under::Fault) => unreachable!("a rule that fails"),
        (_, _) => return None,
    })
}

fn cut(text: &str, characters: usize, so_far: &mut usize, on: OnFound) -> Passed {
    let left = characters.saturating_sub(*so_far);
    let end = text.char_indices().nth(left).map(|(at, _)| at);
    *so_far = so_far.saturating_add(text.chars().count());
    let Some(end) = end else { return Passed { text: text.to_owned(), found: Vec::new() } };
    let kept = if on == OnFound::Keep { text } else { text.get(..end).unwrap_or_default() };
    Passed { text: kept.to_owned(), found: vec![format!("more than {characters} characters")] }
}
