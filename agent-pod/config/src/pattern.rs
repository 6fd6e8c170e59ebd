//! Regular expressions, weighed before anything compiles them.
//!
//! The operator looks at every agent again and again, so it compiles none: it reads the expression and adds up what its
//! compiled form would take, from counts and from the sizes of classes. That costs about what reading costs, is the same on
//! every machine, and the pod, which does compile, goes by the same weights.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex_syntax::ast::{self, Ast, ClassSetItem, Visitor};
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;

/// What the compiled regular expressions of one agent may take together: some hundred milliseconds of compiling, once for
/// each change, and a thirtieth of a small container. `\w{1,256}` takes three quarters of it.
pub const PATTERN_BYTES_MAX: usize = 8 << 20;

/// In how many places the regular expressions of one agent may be at once, at each character of a text: so many states
/// may have to be gone through for it. `\w{1,256}` takes half of it.
pub const PATTERN_PLACES_MAX: usize = 4096;

/// How much more is gone through of expressions whose matches can be longer than the 256 characters that are found: they
/// are tried again from each place where one may begin.
const LONG_FACTOR: usize = 8;

/// The longest match that is found, in characters.
const MATCH_MAX: usize = 256;

/// What a class of Unicode takes at least, where it has to be looked up before it can be weighed: it costs time, too.
const CLASS_BYTES_MIN: usize = 8 << 10;

/// A state of an automaton.
const STATE_BYTES: usize = 40;

/// A range of a class.
const RANGE_BYTES: usize = 10;

/// A byte of the ranges of a class beyond ASCII, where those that are alike are put together.
const SHARED_BYTES: usize = 6;

/// Text of expressions whose weights are kept, so that agents that have not changed are not weighed again.
const KEPT_BYTES: usize = 4 << 20;

/// What the expressions of one agent may still take.
#[derive(Clone, Debug)]
pub struct PatternBudget {
    bytes: usize,
    places: usize,
    spent: bool,
}

impl Default for PatternBudget {
    fn default() -> Self {
        Self { bytes: PATTERN_BYTES_MAX, places: PATTERN_PLACES_MAX, spent: false }
    }
}

impl PatternBudget {
    /// Takes from it what the compiled form of an expression takes, which ignores case and sees Unicode. One that is
    /// refused takes nothing.
    ///
    /// # Errors
    /// What is wrong with the expression, and what would be right.
    pub fn take(&mut self, pattern: &str) -> Result<(), String> {
        const REMEDY: &str = "use smaller counts, or [a-z0-9_] in place of \\w, or leave some out";
        let Weight { bytes, places } = weigh_once(pattern)?;
        let Some(bytes) = self.bytes.checked_sub(bytes) else {
            self.spent = true;
            let mebibytes = PATTERN_BYTES_MAX >> 20;
            return Err(format!(
                "the regular expression takes too much memory: compiled, those of one agent may take {mebibytes} MiB \
                 together; {REMEDY}"
            ));
        };
        let Some(places) = self.places.checked_sub(places) else {
            self.spent = true;
            return Err(format!(
                "the regular expression takes too much time: at each character, those of one agent may be in \
                 {PATTERN_PLACES_MAX} places together, and eight times as much counts what can match more than \
                 {MATCH_MAX} characters; {REMEDY}"
            ));
        };
        (self.bytes, self.places) = (bytes, places);
        Ok(())
    }

    /// Whether an expression was refused because there was not enough left for it. Of a thousand such, the first one says
    /// all that there is to say.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent
    }
}

/// What an expression takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weight {
    bytes: usize,
    places: usize,
}

/// Weights by the text of the expression.
#[derive(Default)]
struct Weights {
    kept: HashMap<String, Result<Weight, String>>,
    bytes: usize,
}

static WEIGHTS: LazyLock<Mutex<Weights>> = LazyLock::new(Mutex::default);

fn weigh_once(pattern: &str) -> Result<Weight, String> {
    let weights = || WEIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = weights().kept.get(pattern) {
        return known.clone();
    }
    let weight = weigh(pattern);
    let mut weights = weights();
    if weights.bytes + pattern.len() > KEPT_BYTES {
        *weights = Weights::default();
    }
    weights.bytes += pattern.len();
    weights.kept.insert(pattern.to_owned(), weight.clone());
    weight
}

fn weigh(pattern: &str) -> Result<Weight, String> {
    let not_one = |kind: String| format!("not a regular expression: {kind}");
    let ast = ast::parse::Parser::new().parse(pattern).map_err(|error| not_one(error.kind().to_string()))?;
    // Before classes are looked up: each costs time.
    let classes = ast::visit(&ast, Classes::default()).unwrap_or(usize::MAX);
    if classes.saturating_mul(CLASS_BYTES_MIN) > PATTERN_BYTES_MAX {
        return Ok(Weight { bytes: usize::MAX, places: 0 });
    }
    let hir = TranslatorBuilder::new().case_insensitive(true).build().translate(pattern, &ast);
    let hir = hir.map_err(|error| not_one(error.kind().to_string()))?;
    if hir.properties().minimum_len().unwrap_or(0) == 0 {
        return Err("the regular expression matches the empty text, and so everywhere".to_owned());
    }
    let bytes = bytes_of(&hir).max(classes.saturating_mul(CLASS_BYTES_MIN));
    let factor = if longest(&hir).is_some_and(|characters| characters < MATCH_MAX) { 1 } else { LONG_FACTOR };
    Ok(Weight { bytes, places: quarters(&hir, 1).saturating_mul(factor) / 4 })
}

/// Counts the classes of Unicode of an expression.
#[derive(Default)]
struct Classes(usize);

impl Visitor for Classes {
    type Output = usize;
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<usize, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        self.0 += usize::from(matches!(ast, Ast::ClassUnicode(_) | Ast::ClassPerl(_)));
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        self.0 += usize::from(match item {
            ClassSetItem::Unicode(_) | ClassSetItem::Perl(_) => true,
            ClassSetItem::Range(range) => !range.end.c.is_ascii(),
            ClassSetItem::Empty(_)
            | ClassSetItem::Literal(_)
            | ClassSetItem::Ascii(_)
            | ClassSetItem::Bracketed(_)
            | ClassSetItem::Union(_) => false,
        });
        Ok(())
    }
}

/// What an expression takes, about: what is repeated is there as often as it may be.
fn bytes_of(hir: &Hir) -> usize {
    let sum = |parts: &[Hir]| parts.iter().map(bytes_of).fold(0, usize::saturating_add);
    let more = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len().saturating_mul(STATE_BYTES),
        HirKind::Class(Class::Unicode(class)) => class_bytes(class),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len().saturating_mul(RANGE_BYTES),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or_else(|| repetition.min.saturating_add(1));
            let once = bytes_of(&repetition.sub).saturating_add(STATE_BYTES);
            once.saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(capture) => bytes_of(&capture.sub).saturating_add(STATE_BYTES),
        HirKind::Concat(parts) => sum(parts),
        HirKind::Alternation(parts) => sum(parts).saturating_add(parts.len().saturating_mul(STATE_BYTES)),
    };
    more.saturating_add(STATE_BYTES)
}

fn class_bytes(class: &ClassUnicode) -> usize {
    let ranges = class.iter().flat_map(|range| Utf8Sequences::new(range.start(), range.end()));
    let bytes = ranges.map(|sequence| if sequence.len() == 1 { RANGE_BYTES } else { sequence.len() * SHARED_BYTES });
    let beyond = if class.is_ascii() { 0 } else { 4 * STATE_BYTES };
    bytes.fold(beyond, usize::saturating_add)
}

/// In how many quarters of places it can be at once: in each of what is repeated, one text over the other, and seldom in
/// more than one of four others.
fn quarters(hir: &Hir, copies: usize) -> usize {
    let leaf = |characters: usize| characters.saturating_mul(if copies == 1 { 1 } else { copies.saturating_mul(4) });
    let sum = |parts: &[Hir]| parts.iter().map(|part| quarters(part, copies)).fold(0, usize::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => leaf(literal.0.len()),
        HirKind::Class(_) => leaf(1),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            quarters(&repetition.sub, copies.saturating_mul(usize::try_from(times).unwrap_or(usize::MAX)))
        }
        HirKind::Capture(capture) => quarters(&capture.sub, copies),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

/// The most characters of a match; none: there is no bound.
fn longest(hir: &Hir) -> Option<usize> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(0),
        HirKind::Literal(literal) => Some(literal.0.len()),
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

#[cfg(test)]
mod tests {
    use regex_automata::nfa::thompson::{Compiler, Config};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r"\w{1,64}")]
    #[case(r"\w{1,256}0")]
    #[case(r"\d{1,256}")]
    #[case(r"\s{1,256}x")]
    #[case(r"\W{1,40}x")]
    #[case(r"\pL{1,64}")]
    #[case(r"\p{Han}{1,256}")]
    #[case("[a-z0-9_]{1,1000}")]
    #[case("[^a]{1,256}")]
    #[case(".{1,256}b")]
    #[case("(a{1,100}){1,100}b")]
    #[case("(?:a|b|c){1,1000}")]
    #[case("(?:secret|token|password|credential){1,50}")]
    fn a_weight_is_about_what_the_compiled_form_takes(#[case] pattern: &str) {
        let hir = regex_syntax::ParserBuilder::new().case_insensitive(true).build().parse(pattern).unwrap();
        let real = Compiler::new().configure(Config::new()).build_from_hir(&hir).unwrap().memory_usage();
        let weight = weigh(pattern).unwrap().bytes;
        assert!(weight * 2 > real && weight < real * 4, "{pattern}: weighed {weight}, takes {real}");
    }

    #[test]
    fn expressions_of_one_agent_share_what_there_is() {
        let mut budget = PatternBudget::default();
        let taken = (0..2048).take_while(|index| budget.take(&format!(r"\w{{1,64}}{index}")).is_ok()).count();
        assert!((3..=12).contains(&taken) && budget.is_spent(), "{taken}");
        // A small one still fits.
        assert_eq!(budget.take(r"\bsk-[a-z0-9]{20,48}\b"), Ok(()));
    }

    #[rstest]
    #[case::memory(r"(\w{1,50}){1,50}", "memory")]
    #[case::memory(r"\w{1000}{1000}{1000}{1000}{1000}", "memory")]
    #[case::memory(r"(((a{1,100}){1,100}){1,100}){1,100}", "memory")]
    #[case::time("(a{1,100}){1,100}b", "time")]
    #[case::time("[a-z]{1,1000}x", "time")]
    fn counts_within_counts_multiply(#[case] pattern: &str, #[case] what: &str) {
        let mut budget = PatternBudget::default();
        let refused = budget.take(pattern).unwrap_err();
        assert!(refused.starts_with(&format!("the regular expression takes too much {what}: ")), "{refused}");
        assert!(budget.is_spent());
    }

    #[rstest]
    #[case(r"\w{1,256}0")]
    #[case(r"[A-Z0-9._%+-]{1,64}@[A-Z0-9.-]{1,190}\.[A-Z]{2,24}")]
    #[case(".*secret.*")]
    #[case(r"\b(?:\d[ -]?){13,19}\b")]
    fn what_people_write_fits(#[case] pattern: &str) {
        assert_eq!(PatternBudget::default().take(pattern), Ok(()));
    }

    #[test]
    fn many_ordinary_expressions_fit_together() {
        let mut budget = PatternBudget::default();
        for index in 0..64 {
            let pattern = format!(r"\b(?:order|ticket) #?{index}-\d{{4,8}}[a-z]{{0,3}}\b");
            assert_eq!(budget.take(&pattern), Ok(()), "{index}");
        }
    }

    #[test]
    fn classes_are_weighed_before_they_are_looked_up() {
        let many = format!("[{}]", r"\pL\p{Greek}".repeat(2500));
        assert_eq!(weigh(&many), Ok(Weight { bytes: usize::MAX, places: 0 }));
    }

    #[test]
    fn a_weight_is_found_once() {
        let pattern = r"\bonce-and-no-more-\d{4}\b";
        assert_eq!(weigh_once(pattern), weigh(pattern));
        assert!(WEIGHTS.lock().unwrap().kept.contains_key(pattern));
    }
}
