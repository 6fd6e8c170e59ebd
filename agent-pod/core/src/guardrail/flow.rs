//! A text on its way past the rules, in pieces.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::pattern::PatternStage;
use super::rule::{Check, Rule};
use super::scan::{OnFound, Passed, Stage, WINDOW};
use super::{Action, Block, Direction, Hit, Subject};

/// A text on its way past the rules. Each holds back at most [`super::WINDOW`] characters of what it has seen: what can
/// still become part of something that it looks for.
pub struct Flow {
    rules: Arc<[Rule]>,
    stages: Vec<(usize, Under)>,
    direction: Direction,
    hits: Vec<Hit>,
    block: Option<Block>,
    /// How many times as much as a byte of ordinary work each one is.
    cost: usize,
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

/// The most bytes that the rules are given at once: what they keep of a text is then no more than a few times this.
const PIECE_BYTES: usize = 4 << 10;

/// The same where each of them is a lot of work: shorter pieces would cost more than they save.
const PIECE_BYTES_MIN: usize = 64;

impl Flow {
    pub(super) fn new(rules: Arc<[Rule]>, direction: Direction, subject: Subject) -> Self {
        let stages = rules.iter().enumerate().filter(|(_, rule)| rule.sees(subject));
        let stages: Vec<_> = stages.filter_map(|(index, rule)| Some((index, under(&rule.check)?))).collect();
        let costs = stages.iter().filter_map(|(index, _)| rules.get(*index)).map(Rule::cost);
        let cost = costs.fold(0, usize::saturating_add).max(1);
        Self { rules, stages, direction, hits: Vec::new(), block: None, cost }
    }

    /// The work of a piece, as the bytes of ordinary text that would be as much. What costs more is held back, and looked
    /// at again with each piece.
    #[must_use]
    pub fn work_of(&self, piece: &str) -> usize {
        let again = if self.cost > 1 { WINDOW } else { 0 };
        piece.len().saturating_add(again).saturating_mul(self.cost)
    }

    /// The beginning of a text that is no more work than others can wait for, and the rest.
    pub(super) fn first_piece<'a>(&self, text: &'a str) -> (&'a str, &'a str) {
        let bytes = (PIECE_BYTES / self.cost).max(PIECE_BYTES_MIN);
        text.split_at_checked(text.floor_char_boundary(bytes)).unwrap_or((text, ""))
    }

    /// Takes a piece in and gives what can go out. `last`: nothing more will come.
    pub fn feed(&mut self, piece: &str, last: bool) -> String {
        let (first, mut rest) = self.first_piece(piece);
        let mut out = self.feed_piece(first, last && rest.is_empty(), false);
        while !rest.is_empty() && self.block.is_none() {
            let (next, after) = self.first_piece(rest);
            rest = after;
            out.push_str(&self.feed_piece(next, last && rest.is_empty(), false));
        }
        out
    }

    /// Takes a whole text in and gives what is left of it. Then the next text can come; what was found stays.
    pub(super) fn feed_whole(&mut self, text: &str) -> String {
        let (first, rest) = self.first_piece(text);
        let mut out = self.feed_piece(first, rest.is_empty(), rest.is_empty());
        if !rest.is_empty() {
            out.push_str(&self.feed(rest, true));
        }
        self.begin_anew();
        out
    }

    /// The next text is another one; what was found stays.
    pub(super) fn begin_anew(&mut self) {
        for (_, under) in &mut self.stages {
            match under {
                Under::Scan(stage) => stage.begin_anew(),
                Under::Content(words, places) => {
                    words.begin_anew();
                    places.begin_anew();
                }
                Under::Length(so_far) => *so_far = 0,
                #[cfg(any(test, feature = "testing"))]
                Under::Fault => {}
            }
        }
    }

    /// What stands in for a text that is away to be screened: it lets nothing out, so that nothing passes the rules by
    /// if it does not come back.
    #[must_use]
    pub(crate) fn away(&self) -> Self {
        let rule = self.stages.first().and_then(|(index, _)| self.rules.get(*index));
        let block = rule.map(|rule| rule.block(self.direction, "the text was not screened to its end".to_owned()));
        let (rules, stages, hits) = (Arc::clone(&self.rules), Vec::new(), Vec::new());
        Self { rules, stages, direction: self.direction, hits, block, cost: 1 }
    }

    /// `whole`: it is all of the text, so that what is shorter than anything that a rule finds needs not pass it.
    fn feed_piece(&mut self, piece: &str, last: bool, whole: bool) -> String {
        if self.block.is_some() {
            return String::new();
        }
        let mut text = piece.to_owned();
        for (index, under) in &mut self.stages {
            let Some(rule) = self.rules.get(*index) else { continue };
            if whole && text.len() < rule.shortest() {
                continue;
            }
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
