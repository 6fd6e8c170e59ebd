//! Numbers in groups: payment cards, social security numbers, telephone numbers.
//!
//! Groups of digits with separators between them are read as one run. What the run holds is decided from the groups
//! themselves and the words before it, so that a number is the same whatever stands around it.

mod kinds;

use super::super::glyph::in_word;
use super::super::scan::{Ahead, More};
use super::context::Context;
use super::{Entity, Pii, Recognised, address};

/// The longest run that is looked at as one.
const RUN_MAX: usize = 96;

/// The most digits of anything that is looked for.
const DIGITS_MAX: usize = 19;

/// A group of digits within a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Where it begins, with the sign or parenthesis in front of it.
    start: usize,
    end: usize,
    digits: String,
    /// Whether `+` stands in front of it.
    plus: bool,
    /// Whether it stands in parentheses.
    enclosed: bool,
    /// What stands between the group before and this one, parentheses left out.
    separator: String,
}

/// Looks at the run that begins at `ahead`.
pub(super) fn at(ahead: Ahead<'_>, wanted: &Pii) -> Result<Recognised, More> {
    if !ahead.at(0)?.is_some_and(|reads| reads.is_ascii_digit() || matches!(reads, '+' | '(')) {
        return Ok(Recognised::Nothing(1));
    }
    if let Some(length) = date(ahead)? {
        return Ok(Recognised::Nothing(length));
    }
    let groups = match read(ahead, wanted)? {
        Run::Groups(groups) => groups,
        Run::None(length) => return Ok(Recognised::Nothing(length)),
    };
    let context = Context::of(ahead.back());
    let mut considered = groups.as_slice();
    let mut found = None;
    // What stands before the first number must be free of numbers also by itself: it will be, once the number is gone.
    while let Some((from, to, entity)) = first(considered, wanted, &context) {
        found = Some((from, to, entity));
        considered = considered.get(..from).unwrap_or_default();
    }
    let whole = groups.last().map_or(1, |group| group.end);
    let Some((from, to, entity)) = found else { return Ok(Recognised::Nothing(whole)) };
    let start = groups.get(from).map_or(0, |group| group.start);
    Ok(if from == 0 {
        let end = groups.get(to - 1).map_or(whole, |group| group.end);
        Recognised::Value(end, entity)
    } else {
        Recognised::Nothing(start)
    })
}

/// The first number among the groups, as long as can be.
fn first(groups: &[Group], wanted: &Pii, context: &Context) -> Option<(usize, usize, Entity)> {
    for from in 0..groups.len() {
        let mut ends: Vec<usize> = Vec::new();
        let mut digits = 0;
        for (index, group) in groups.iter().enumerate().skip(from) {
            digits += group.digits.len();
            if digits > DIGITS_MAX {
                break;
            }
            ends.push(index + 1);
        }
        // What has a check is surer than what has none.
        for entity in [Entity::CreditCard, Entity::Ssn, Entity::Phone].into_iter().filter(|kind| wanted.wants(*kind)) {
            let is_one = |to: &usize| {
                let slice = groups.get(from..*to).unwrap_or_default();
                kinds::Span { groups: slice, whole: from == 0 && *to == groups.len(), context }.is(entity)
            };
            if let Some(to) = ends.iter().rev().copied().find(is_one) {
                return Some((from, to, entity));
            }
        }
    }
    None
}

enum Run {
    /// So many glyphs are no number of ours.
    None(usize),
    Groups(Vec<Group>),
}

fn read(ahead: Ahead<'_>, wanted: &Pii) -> Result<Run, More> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at = 0;
    while let Some((group, next)) = group(ahead, at, groups.is_empty())? {
        // Digits of a name, of a time, of an address are no group.
        if is_part_of_more(ahead.skip(next), group.digits.len())? {
            if groups.is_empty() {
                return Ok(Run::None(next));
            }
            break;
        }
        let begins_anew = group.separator.contains(' ')
            && (date(ahead.skip(group.start))?.is_some()
                || (wanted.wants(Entity::IpAddress) && address::ipv4(ahead.skip(group.start))?.is_some()));
        if begins_anew {
            break;
        }
        at = next;
        groups.push(group);
        if at > RUN_MAX {
            break;
        }
    }
    Ok(if groups.is_empty() { Run::None(1) } else { Run::Groups(groups) })
}

/// The group at `at`, with the separator before it, and where the next one may begin.
fn group(ahead: Ahead<'_>, at: usize, is_first: bool) -> Result<Option<(Group, usize)>, More> {
    let mut group = Group::default();
    let mut place = at;
    while !is_first && group.separator.len() < 3 {
        match ahead.at(place)? {
            Some(reads @ (' ' | '-' | '.' | '/')) => group.separator.push(reads),
            _ => break,
        }
        place += 1;
    }
    group.start = place;
    if is_first && ahead.at(place)? == Some('+') {
        if ahead.before().is_some_and(|before| in_word(before) || before == '+') {
            return Ok(None);
        }
        group.plus = true;
        place += 1;
    }
    let opened = ahead.at(place)? == Some('(');
    place += usize::from(opened);
    while let Some(digit) = ahead.at(place)?.filter(char::is_ascii_digit) {
        group.digits.push(digit);
        place += 1;
    }
    if group.digits.is_empty() {
        return Ok(None);
    }
    group.enclosed = opened && ahead.at(place)? == Some(')');
    if opened && !group.enclosed {
        return Ok(None);
    }
    place += usize::from(group.enclosed);
    group.end = place;
    let joins = is_first || opened || matches!(group.separator.as_str(), " " | "-" | "." | "/" | " - ");
    // After a closing parenthesis the next group may follow at once.
    let follows = group.separator.is_empty() && !is_first && ahead.at(at.saturating_sub(1))? == Some(')');
    Ok((joins || follows).then_some((group, place)))
}

/// Whether so many digits before go on as something else.
fn is_part_of_more(behind: Ahead<'_>, digits: usize) -> Result<bool, More> {
    Ok(match behind.at(0)? {
        Some('@') => true,
        // More than two digits are no part of a time: what follows is a value of its own.
        Some(':') => digits <= 2 && behind.at(1)?.is_some_and(|reads| reads.is_ascii_digit()),
        Some('x') => !behind.at(1)?.is_some_and(|reads| reads.is_ascii_digit()),
        Some(reads) => in_word(reads),
        None => false,
    })
}

/// A date such as 2024-01-31, 31.01.2024 or 1/31/2024.
fn date(ahead: Ahead<'_>) -> Result<Option<usize>, More> {
    let (mut at, mut parts, mut lengths) = (0, [0_u32; 3], [0; 3]);
    let mut separator = None;
    for index in 0..3 {
        if index > 0 {
            let next = ahead.at(at)?.filter(|reads| matches!(reads, '-' | '.' | '/'));
            if next.is_none() || (index == 2 && next != separator) {
                return Ok(None);
            }
            separator = next;
            at += 1;
        }
        while let Some(digit) = ahead.at(at)?.and_then(|reads| reads.to_digit(10)) {
            if lengths[index] == 4 {
                return Ok(None);
            }
            parts[index] = parts[index] * 10 + digit;
            lengths[index] += 1;
            at += 1;
        }
    }
    let [first, second, third] = parts;
    let day_and_month = |a: u32, b: u32| (1..=31).contains(&a) && (1..=31).contains(&b) && (a <= 12 || b <= 12);
    let year = |year: u32| (1900..=2199).contains(&year);
    let is_date = match lengths {
        [4, 1..=2, 1..=2] => year(first) && day_and_month(second, third),
        [1..=2, 1..=2, 4] => year(third) && day_and_month(first, second),
        _ => false,
    };
    let goes_on = match ahead.at(at)? {
        Some('-' | '.' | '/') => ahead.at(at + 1)?.is_some_and(|reads| reads.is_ascii_digit()),
        Some(reads) => reads.is_ascii_digit(),
        None => false,
    };
    Ok((is_date && !goes_on).then_some(at))
}
