//! What a regular expression of a schema costs, counted before it is compiled.

use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;

/// Reading a class of Unicode takes as long as reading so many bytes.
const UNICODE_BYTES: u64 = 600;

/// What one pattern costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PatternCost {
    /// States of its automaton, which is what compiling costs in time and bytes.
    pub(crate) states: u64,
    /// Places that a match can be at once, which is what a byte of text costs at worst.
    pub(crate) places: u64,
}

/// How many bytes are gone through to read a pattern, counted before it is read: each class such as `\d` is written out, and
/// for each of them all is read anew. What has been read is taken apart, which takes several times as long.
pub(crate) fn reading(pattern: &str) -> u64 {
    let (mut rounds, mut length, mut escaped) = (5, u64::try_from(pattern.len()).unwrap_or(u64::MAX), false);
    for byte in pattern.bytes() {
        if !escaped {
            escaped = byte == b'\\';
            continue;
        }
        escaped = false;
        let (round, longer) = match byte {
            b'd' | b'D' | b'c' => (1, 4),
            b'w' | b'W' => (1, 12),
            b's' | b'S' => (1, 160),
            b'p' | b'P' => (0, UNICODE_BYTES),
            _other => (0, 0),
        };
        rounds += round;
        length = length.saturating_add(longer);
    }
    length.saturating_mul(rounds)
}

/// Counts a pattern as it is written in a schema: an ECMA regular expression, of which those with look-around and
/// back-references cannot be matched in linear time and are refused.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn cost(pattern: &str) -> Result<PatternCost, String> {
    let translated = jsonschema_regex::to_rust_regex(pattern).map_err(|()| "not a regular expression".to_owned())?;
    let hir = regex_syntax::parse(&translated).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    })?;
    Ok(of(&hir))
}

/// The parser has bounded the depth of the expression.
fn of(hir: &Hir) -> PatternCost {
    match hir.kind() {
        HirKind::Empty => PatternCost { states: 1, places: 0 },
        HirKind::Look(_) => PatternCost { states: 1, places: 1 },
        HirKind::Literal(literal) => same(u64::try_from(literal.0.len()).unwrap_or(u64::MAX)),
        HirKind::Class(class) => PatternCost { states: class_states(class), places: 4 },
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or_else(|| repetition.min.saturating_add(1)).max(1));
            let PatternCost { states, places } = of(&repetition.sub);
            // Each round has a state of its own to leave by.
            PatternCost { states: states.saturating_add(1).saturating_mul(times), places: places.saturating_mul(times) }
        }
        HirKind::Capture(capture) => {
            let PatternCost { states, places } = of(&capture.sub);
            PatternCost { states: states.saturating_add(2), places }
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(of).fold(PatternCost { states: 1, places: 0 }, |sum, part| PatternCost {
                states: sum.states.saturating_add(part.states),
                places: sum.places.saturating_add(part.places),
            })
        }
    }
}

fn same(count: u64) -> PatternCost {
    PatternCost { states: count, places: count }
}

/// A class of characters is as many states as the byte sequences of its ranges have bytes.
fn class_states(class: &Class) -> u64 {
    match class {
        Class::Bytes(_) => 1,
        Class::Unicode(class) => {
            let sequences = class.iter().flat_map(|range| Utf8Sequences::new(range.start(), range.end()));
            sequences.map(|sequence| u64::try_from(sequence.len()).unwrap_or(u64::MAX)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("^[a-z]+$", 0, 20)]
    #[case(r"^\d{4}-\d{2}-\d{2}$", 0, 60)]
    #[case(r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", 0, 1_000)]
    #[case("^.{1,500}$", 500, 20_000)]
    #[case(r"[\u0100-\uffff]{1,256}0", 1_000, 10_000)]
    #[case(r"\p{L}{1,256}0", 100_000, u64::MAX)]
    #[case("((a{1,1000}){1,1000}){1,1000}", 1_000_000_000, u64::MAX)]
    fn states_are_counted_without_compiling(#[case] pattern: &str, #[case] least: u64, #[case] most: u64) {
        let states = cost(pattern).unwrap().states;
        assert!((least..=most).contains(&states), "{pattern}: {states}");
    }

    #[rstest]
    #[case("(?=a)b")]
    #[case(r"(a)\1")]
    #[case("(")]
    fn what_is_not_matched_in_linear_time_is_refused(#[case] pattern: &str) {
        assert!(cost(pattern).is_err());
    }
}
