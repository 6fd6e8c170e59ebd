//! Regular expressions over a text that comes in pieces.
//!
//! A match has at most [`WINDOW`] characters; of one that is longer, what lies within them is found where the
//! expression matches that alone. So each place of the text is settled as soon as the window behind it has come, or
//! sooner where the expressions cannot match so much.

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, HirKind, Repetition};

use super::scan::{OnFound, Passed, WINDOW};

/// What takes the place of a match.
const FILTERED: &str = "[FILTERED]";

/// Characters kept of what has gone out, for `\b` and its like.
const BACK: usize = 8;

/// The largest compiled form of all expressions of a rule. Those of a whole agent are weighed before they come here; this
/// stands behind it.
const COMPILED_BYTES_MAX: usize = 16 << 20;

/// In so many places at once a search costs no more than other rules.
const PLACES_FREE: usize = 64;

/// How much more is gone through of expressions whose matches can be longer than the window: they are tried again from
/// each place where one may begin.
const LONG_FACTOR: usize = 8;

/// What a search may keep of its way, for each thread that searches.
const CACHE_BYTES: usize = 1 << 20;

/// A regular expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// Which one of the list.
    pub index: usize,
    /// What is wrong.
    pub message: String,
}

/// The regular expressions of a rule.
#[derive(Debug)]
pub(super) struct Patterns {
    regex: Regex,
    /// The same without what looks at the neighbours of a match, which finds at least every place where one may begin:
    /// for expressions whose matches can be longer than the window. Others find their places themselves.
    places: Option<Regex>,
    /// How many characters from a place on decide whether a match begins there.
    window: usize,
    /// In how many places of them a search can be at once.
    places_max: usize,
}

impl Patterns {
    /// How much more a character costs than one of other rules.
    pub(super) fn cost(&self) -> usize {
        self.places_max / PLACES_FREE
    }

    /// Compiles them.
    pub(super) fn compile(patterns: &[String]) -> Result<Self, PatternError> {
        let (mut window, mut places_max) = (0, 0_usize);
        let (mut parsed, mut fit) = (Vec::new(), true);
        for (index, pattern) in patterns.iter().enumerate() {
            let refuse = |message: String| PatternError { index, message };
            let hir = regex_syntax::ParserBuilder::new()
                .case_insensitive(true)
                .build()
                .parse(pattern)
                .map_err(|error| refuse(error.to_string()))?;
            if hir.properties().minimum_len().unwrap_or(0) == 0 {
                return Err(refuse("matches the empty text, and so everywhere".to_owned()));
            }
            window = window.max(reach(&hir));
            places_max = places_max.saturating_add(copies(&hir));
            fit &= longest(&hir).is_some_and(|characters| characters < WINDOW);
            parsed.push(hir);
        }
        let regex = build(&parsed).map_err(|error| at_fault(&parsed, &error))?;
        let places = if fit {
            None
        } else {
            let stripped: Vec<_> = parsed.iter().cloned().map(without_looks).collect();
            Some(build(&stripped).map_err(|error| at_fault(&parsed, &error))?)
        };
        let places_max = if fit { places_max } else { places_max.saturating_mul(LONG_FACTOR) };
        Ok(Self { regex, places, window, places_max })
    }

    /// Where a match may begin at the earliest.
    fn place(&self, text: &str, from: usize) -> Option<usize> {
        let input = Input::new(text).range(from..);
        #[cfg(test)]
        super::scan::work::add(text.len() - from);
        self.places.as_ref().unwrap_or(&self.regex).find(input).map(|found| found.start())
    }
}

fn build(patterns: &[Hir]) -> Result<Regex, BuildError> {
    let limits = Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX)).hybrid_cache_capacity(CACHE_BYTES);
    Regex::builder().configure(limits).build_many_from_hir(patterns)
}

/// The first of them that is too large by itself, else the last: it was too much.
fn at_fault(patterns: &[Hir], error: &BuildError) -> PatternError {
    let alone = patterns.iter().position(|pattern| build(std::slice::from_ref(pattern)).is_err());
    PatternError { index: alone.unwrap_or_else(|| patterns.len().saturating_sub(1)), message: reason(error) }
}

fn without_looks(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Empty | HirKind::Look(_) => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Repetition(repetition) => {
            Hir::repetition(Repetition { sub: Box::new(without_looks(*repetition.sub)), ..repetition })
        }
        HirKind::Capture(capture) => without_looks(*capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(without_looks).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(without_looks).collect()),
    }
}

fn reason(error: &BuildError) -> String {
    error.size_limit().map_or_else(|| error.to_string(), |limit| format!("takes more than {limit} bytes when compiled"))
}

/// How many characters there are in it, what is repeated as often as it may be.
fn copies(hir: &Hir) -> usize {
    let sum = |parts: &[Hir]| parts.iter().map(copies).fold(0, usize::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            copies(&repetition.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(capture) => copies(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

/// How many characters a match can have, and one more to see what follows it.
fn reach(hir: &Hir) -> usize {
    longest(hir).map_or(WINDOW, |characters| characters.saturating_add(1)).min(WINDOW)
}

/// The most characters of a match; none: there is no bound.
fn longest(hir: &Hir) -> Option<usize> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(0),
        HirKind::Literal(literal) => Some(String::from_utf8_lossy(&literal.0).chars().count()),
        HirKind::Class(_) => Some(1),
        HirKind::Repetition(repetition) => {
            let times = usize::try_from(repetition.max?).ok()?;
            Some(longest(&repetition.sub)?.saturating_mul(times))
        }
        HirKind::Capture(capture) => longest(&capture.sub),
        HirKind::Concat(parts) => parts.iter().try_fold(0_usize, |sum, part| Some(sum.saturating_add(longest(part)?))),
        HirKind::Alternation(parts) => parts.iter().try_fold(0, |most, part| Some(longest(part)?.max(most))),
    }
}

/// A text under way through the expressions.
#[derive(Default)]
pub(super) struct PatternStage {
    /// What has gone out last, as far as it is kept, and what has come and not gone out.
    text: String,
    /// Where the second part begins.
    next: usize,
    stopped: bool,
}

impl PatternStage {
    /// Begins with another text.
    pub(super) fn begin_anew(&mut self) {
        self.text.clear();
        (self.next, self.stopped) = (0, false);
    }

    /// Takes a piece in and gives what can go out. `last`: nothing more will come.
    pub(super) fn feed(&mut self, patterns: &Patterns, piece: &str, on: OnFound, last: bool) -> Passed {
        let mut passed = Passed::default();
        // Piece by piece, so that no search runs through more than a few windows.
        let mut pieces = Pieces(piece).peekable();
        while let Some(piece) = pieces.next() {
            self.text.push_str(piece);
            self.settle(patterns, on, last && pieces.peek().is_none(), &mut passed);
        }
        if last && piece.is_empty() {
            self.settle(patterns, on, true, &mut passed);
        }
        passed
    }

    fn settle(&mut self, patterns: &Patterns, on: OnFound, last: bool, passed: &mut Passed) {
        let mut out = self.next;
        while !self.stopped {
            let decided = self.decided(patterns.window, last);
            let start = patterns.place(&self.text, self.next).unwrap_or(self.text.len());
            if start >= decided {
                // A match may begin at the border, but none before it.
                self.next = decided.max(self.next);
                break;
            }
            let end = self.place_behind(start, patterns.window);
            #[cfg(test)]
            super::scan::work::add(end - start);
            let within = Input::new(self.text.get(..end).unwrap_or_default()).range(start..).anchored(Anchored::Yes);
            let Some(found) = patterns.regex.find(within).filter(|found| !found.is_empty()) else {
                self.next = self.place_behind(start, 1);
                continue;
            };
            passed.note("a filtered pattern".to_owned());
            passed.text.push_str(self.text.get(out..start).unwrap_or_default());
            match on {
                OnFound::Replace => passed.text.push_str(FILTERED),
                OnFound::Keep => passed.text.push_str(self.text.get(start..found.end()).unwrap_or_default()),
                OnFound::Stop => {
                    *self = Self { stopped: true, ..Self::default() };
                    return;
                }
            }
            (self.next, out) = (found.end(), found.end());
        }
        if self.stopped {
            self.text.clear();
            return;
        }
        passed.text.push_str(self.text.get(out..self.next).unwrap_or_default());
        self.forget();
    }

    /// The first place on which is not decided yet whether a match begins there.
    fn decided(&self, window: usize, last: bool) -> usize {
        if last {
            return self.text.len();
        }
        let coming = self.text.get(self.next..).unwrap_or_default();
        let held = coming.char_indices().rev().nth(window.saturating_sub(1));
        held.map_or(self.next, |(at, first)| self.next + at + if window == 0 { 0 } else { first.len_utf8() })
    }

    fn place_behind(&self, start: usize, characters: usize) -> usize {
        let coming = self.text.get(start..).unwrap_or_default();
        coming.char_indices().nth(characters).map_or(self.text.len(), |(at, _)| start + at)
    }

    fn forget(&mut self) {
        let gone = self.text.get(..self.next).unwrap_or_default();
        let keep = gone.char_indices().rev().nth(BACK - 1).map_or(0, |(at, _)| at);
        self.text.drain(..keep);
        self.next -= keep;
    }
}

/// A text in pieces of two windows.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let at = self.0.char_indices().nth(2 * WINDOW).map_or(self.0.len(), |(at, _)| at);
        let (piece, rest) = self.0.split_at(at);
        self.0 = rest;
        (!piece.is_empty()).then_some(piece)
    }
}
