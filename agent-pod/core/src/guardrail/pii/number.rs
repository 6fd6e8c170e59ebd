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
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Where it begins, with the sign or parenthesis in front of it.
    start: usize,
    end: usize,
    /// Its digits among those of the run.
    digits: (usize, usize),
    /// Whether `+` stands in front of it.
    plus: bool,
    /// Whether it stands in parentheses.
    enclosed: bool,
    /// What stands between the group before and this one.
    joint: Joint,
}

impl Group {
    fn length(&self) -> usize {
        self.digits.1 - self.digits.0
    }
}

/// What stands between two groups, parentheses left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// Nothing: the first group, or one right behind a parenthesis.
    None,
    Space,
    Dash,
    Dot,
    Slash,
    /// Up to three of these.
    Several {
        spaced: bool,
    },
}

impl Joint {
    fn and(self, reads: char) -> Option<Self> {
        Some(match (self, reads) {
            (Self::None, ' ') => Self::Space,
            (Self::None, '-') => Self::Dash,
            (Self::None, '.') => Self::Dot,
            (Self::None, '/') => Self::Slash,
            (_, ' ' | '-' | '.' | '/') => Self::Several { spaced: reads == ' ' || self.is_spaced() },
            _ => return None,
        })
    }

    fn is_spaced(self) -> bool {
        matches!(self, Self::Space | Self::Several { spaced: true })
    }

    /// One of its own in a set of them.
    fn bit(self) -> u8 {
        match self {
            Self::None => 1,
            Self::Space => 2,
            Self::Dash => 4,
            Self::Dot => 8,
            Self::Slash => 16,
            Self::Several { .. } => 32,
        }
    }
}

/// Groups in a row.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// As ASCII.
    digits: Vec<u8>,
    groups: Vec<Group>,
}

/// Looks at the run that begins at `ahead`.
pub(super) fn at(ahead: Ahead<'_>, wanted: &Pii) -> Result<Recognised, More> {
    if !ahead.at(0)?.is_some_and(|reads| reads.is_ascii_digit() || matches!(reads, '+' | '(')) {
        return Ok(Recognised::Nothing(1));
    }
    if let Some(length) = date(ahead)? {
        return Ok(Recognised::Nothing(length));
    }
    let run = match read(ahead, wanted)? {
        Reading::Run(run) => run,
        Reading::None(length) => return Ok(Recognised::Nothing(length)),
    };
    let context = Context::of(ahead.back());
    let whole = run.groups.last().map_or(1, |group| group.end);
    let Some((from, to, entity)) = first(&run, wanted, &context) else { return Ok(Recognised::Nothing(whole)) };
    let end = |to: usize| to.checked_sub(1).and_then(|last| run.groups.get(last)).map_or(whole, |group| group.end);
    if from == 0 {
        return Ok(Recognised::Value(end(to), entity));
    }
    // What stands before the first number must be free of numbers also by itself: it will be, once the number is gone.
    // No other part of it has become more than it was.
    if let Some((to, entity)) = longest(&run, (0, from), wanted, &context) {
        return Ok(Recognised::Value(end(to), entity));
    }
    Ok(Recognised::Nothing(run.groups.get(from).map_or(1, |group| group.start)))
}

/// The first number among the groups, as long as can be.
fn first(run: &Run, wanted: &Pii, context: &Context<'_>) -> Option<(usize, usize, Entity)> {
    let count = run.groups.len();
    (0..count).find_map(|from| longest(run, (from, count), wanted, context).map(|(to, entity)| (from, to, entity)))
}

/// The longest number that begins with the first of these groups: where it ends, and what it is. What has a check is
/// surer than what has none.
fn longest(run: &Run, (from, until): (usize, usize), wanted: &Pii, context: &Context<'_>) -> Option<(usize, Entity)> {
    const SUREST_FIRST: [Entity; 3] = [Entity::CreditCard, Entity::Ssn, Entity::Phone];
    let mut ends = [None; SUREST_FIRST.len()];
    let mut span = kinds::Span::at(run, from);
    for to in from + 1..=until {
        let Some(group) = run.groups.get(to - 1) else { break };
        span.add(group);
        if span.length() > DIGITS_MAX {
            break;
        }
        for (end, entity) in ends.iter_mut().zip(SUREST_FIRST) {
            if wanted.wants(entity) && span.is(entity, from == 0 && to == until, context) {
                *end = Some(to);
            }
        }
    }
    ends.into_iter().zip(SUREST_FIRST).find_map(|(end, entity)| Some((end?, entity)))
}

enum Reading {
    /// So many glyphs are no number of ours.
    None(usize),
    Run(Run),
}

fn read(ahead: Ahead<'_>, wanted: &Pii) -> Result<Reading, More> {
    let mut run = Run::default();
    let mut at = 0;
    while let Some((group, next)) = group(ahead, at, &mut run)? {
        // Digits of a name, of a time, of an address are no group.
        if is_part_of_more(ahead.skip(next), group.length())? {
            if run.groups.is_empty() {
                return Ok(Reading::None(next));
            }
            break;
        }
        if !run.groups.is_empty() && begins_anew(ahead.skip(group.start), group.joint, wanted)? {
            break;
        }
        at = next;
        run.groups.push(group);
        if at > RUN_MAX {
            break;
        }
    }
    Ok(if run.groups.is_empty() { Reading::None(1) } else { Reading::Run(run) })
}

/// Whether a value of another form begins with a group, which is then no group of the run.
fn begins_anew(ahead: Ahead<'_>, joint: Joint, wanted: &Pii) -> Result<bool, More> {
    if joint.is_spaced() && date(ahead)?.is_some() {
        return Ok(true);
    }
    // Behind a dot a number is part of a longer one.
    let apart = !matches!(joint, Joint::None | Joint::Dot | Joint::Several { spaced: false });
    Ok(apart && wanted.wants(Entity::IpAddress) && address::begins(ahead)?)
}

/// The group at `at`, with the separator before it, and where the next one may begin. Its digits are put to those of
/// the run.
fn group(ahead: Ahead<'_>, at: usize, run: &mut Run) -> Result<Option<(Group, usize)>, More> {
    let is_first = run.groups.is_empty();
    let (mut joint, mut place) = (Joint::None, at);
    while !is_first
        && place - at < 3
        && let Some(longer) = ahead.at(place)?.and_then(|reads| joint.and(reads))
    {
        joint = longer;
        place += 1;
    }
    let start = place;
    let plus = is_first && ahead.at(place)? == Some('+');
    if plus {
        if ahead.before().is_some_and(|before| in_word(before) || before == '+') {
            return Ok(None);
        }
        place += 1;
    }
    let opened = ahead.at(place)? == Some('(');
    place += usize::from(opened);
    let from = run.digits.len();
    while let Some(digit) = ahead.at(place)?.filter(char::is_ascii_digit) {
        run.digits.extend(u8::try_from(digit));
        place += 1;
    }
    if run.digits.len() == from {
        return Ok(None);
    }
    let enclosed = opened && ahead.at(place)? == Some(')');
    if opened && !enclosed {
        return Ok(None);
    }
    place += usize::from(enclosed);
    let joins = is_first
        || opened
        || match joint {
            Joint::Space | Joint::Dash | Joint::Dot | Joint::Slash => true,
            Joint::Several { .. } => is_spaced_dash(ahead.skip(at))?,
            // After a closing parenthesis the next group may follow at once.
            Joint::None => ahead.at(at.saturating_sub(1))? == Some(')'),
        };
    let group = Group { start, end: place, digits: (from, run.digits.len()), plus, enclosed, joint };
    Ok(joins.then_some((group, place)))
}

/// ` - `, and no more.
fn is_spaced_dash(ahead: Ahead<'_>) -> Result<bool, More> {
    Ok(ahead.at(0)? == Some(' ') && ahead.at(1)? == Some('-') && ahead.at(2)? == Some(' '))
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
