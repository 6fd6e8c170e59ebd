//! What a span of groups is.

use super::super::Entity;
use super::super::context::Context;
use super::{Group, Joint, Run};
#[cfg(test)]
use crate::guardrail::scan::work;

/// Neighbouring groups of a run, with what is known of all of them: it grows by a group at a time, and each is looked
/// at once.
pub(super) struct Span<'a> {
    run: &'a Run,
    from: usize,
    to: usize,
    /// How they are joined, as a set of [`Joint::bit`]s.
    joints: u8,
    /// Whether a group but the first has a sign.
    plus_within: bool,
    enclosed: bool,
    /// Whether a group has one digit only, and whether such a one stands in no parentheses.
    single: bool,
    single_open: bool,
    /// Whether a group but the last has not four digits.
    uneven: bool,
}

impl<'a> Span<'a> {
    /// None yet of the groups from this one on.
    pub(super) fn at(run: &'a Run, from: usize) -> Self {
        Self {
            run,
            from,
            to: from,
            joints: 0,
            plus_within: false,
            enclosed: false,
            single: false,
            single_open: false,
            uneven: false,
        }
    }

    /// With the next group.
    pub(super) fn add(&mut self, group: &Group) {
        #[cfg(test)]
        work::count();
        if let Some(last) = self.groups().last() {
            self.uneven |= last.length() != 4;
            self.joints |= group.joint.bit();
            self.plus_within |= group.plus;
        }
        self.enclosed |= group.enclosed;
        self.single |= group.length() == 1;
        self.single_open |= group.length() == 1 && !group.enclosed;
        self.to += 1;
    }

    /// How many digits it has.
    pub(super) fn length(&self) -> usize {
        self.digits().len()
    }

    /// Whether it is one of this sort. `whole`: it is all of the run.
    pub(super) fn is(&self, entity: Entity, whole: bool, context: &Context<'_>) -> bool {
        match entity {
            Entity::CreditCard => self.length() > 11 && self.is_card(whole),
            Entity::Ssn => self.length() == 9 && self.is_ssn(whole, context),
            Entity::Phone => self.length() > 6 && self.is_phone(whole, context),
            Entity::Email | Entity::Iban | Entity::IpAddress => false,
        }
    }

    fn groups(&self) -> &'a [Group] {
        self.run.groups.get(self.from..self.to).unwrap_or_default()
    }

    fn first(&self) -> Option<&'a Group> {
        self.groups().first()
    }

    fn digits(&self) -> &'a [u8] {
        let (first, last) = (self.first(), self.groups().last());
        let range = first.zip(last).map_or((0, 0), |(first, last)| (first.digits.0, last.digits.1));
        self.run.digits.get(range.0..range.1).unwrap_or_default()
    }

    fn starts(&self, prefix: &[u8]) -> bool {
        self.digits().starts_with(prefix)
    }

    /// Whether its groups have these lengths.
    fn is_of(&self, lengths: &[usize]) -> bool {
        self.groups().len() == lengths.len() && self.groups().iter().map(Group::length).eq(lengths.iter().copied())
    }

    /// Whether its groups are joined by nothing else.
    fn joined_by(&self, joints: &[Joint]) -> bool {
        let allowed = joints.iter().fold(0, |set, joint| set | joint.bit());
        self.joints & !allowed == 0
    }

    /// Whether it has the marks of a telephone number. Parentheses around all of it are those of the sentence.
    fn signed(&self) -> bool {
        self.first().is_some_and(|first| first.plus) || self.plus_within || (self.enclosed && self.groups().len() > 1)
    }

    fn is_card(&self, whole: bool) -> bool {
        let joined = self.joined_by(&[Joint::Space, Joint::Dash])
            || (!self.uneven && self.joined_by(&[Joint::Space, Joint::Dash, Joint::Dot]));
        !self.single
            && joined
            && !self.signed()
            && is_issued(self.digits(), whole && self.groups().len() > 1)
            && luhn(self.digits())
    }

    fn is_ssn(&self, whole: bool, context: &Context<'_>) -> bool {
        if self.signed() || !is_assigned(self.digits()) {
            return false;
        }
        if self.is_of(&[3, 2, 4]) {
            let spaced = self.joined_by(&[Joint::Space]) || self.joined_by(&[Joint::Dot]);
            return self.joined_by(&[Joint::Dash]) || (spaced && (whole || context.announces_ssn()));
        }
        self.groups().len() == 1 && context.announces_ssn()
    }

    fn is_phone(&self, whole: bool, context: &Context<'_>) -> bool {
        // Signs and parentheses belong to the beginning; another one is another number.
        let Some(first) = self.first() else { return false };
        if self.plus_within {
            return false;
        }
        if first.plus {
            let length = if self.starts(b"1") { 11..=11 } else { 8..=15 };
            return !self.starts(b"0") && length.contains(&self.length());
        }
        // Nothing begins in the middle of something else.
        if matches!(first.joint, Joint::Dash | Joint::Dot | Joint::Slash) {
            return false;
        }
        let looks_like_one = self.is_enclosed()
            || self.is_national(whole)
            || self.is_with_trunk_prefix()
            || (self.length() < 16 && context.announces_phone());
        looks_like_one && !self.digits().iter().all(|digit| *digit == b'0') && !context.announces_other()
    }

    /// `(555) 123-4567`, `1 (555) 123-4567`, `(030) 1234567`, `(11) 91234-5678`.
    fn is_enclosed(&self) -> bool {
        let area = match self.groups() {
            [area, ..] if area.enclosed => area,
            [country, area, ..] if area.enclosed && country.length() == 1 && self.starts(b"1") => area,
            _ => return false,
        };
        match area.length() {
            2..=5 if self.run.digits.get(area.digits.0) == Some(&b'0') => (8..=12).contains(&self.length()),
            3 => matches!(self.length(), 10 | 11),
            2 => matches!(self.length(), 10 | 11) && self.groups().len() > 1,
            _ => false,
        }
    }

    /// `555-123-4567`, `1.555.123.4567`, `138 1234 5678`.
    fn is_national(&self, whole: bool) -> bool {
        let firm = self.joined_by(&[Joint::Dash, Joint::Dot]);
        let spaced = whole && self.joined_by(&[Joint::Space, Joint::Dash, Joint::Dot]);
        if !firm && !spaced {
            return false;
        }
        let second = self.digits().get(1).copied().unwrap_or_default();
        (self.is_of(&[3, 3, 4]) && !self.starts(b"0"))
            || (self.is_of(&[1, 3, 3, 4]) && self.starts(b"1"))
            || (self.is_of(&[3, 4, 4]) && self.starts(b"1") && (b'3'..=b'9').contains(&second))
    }

    /// `020 7946 0958`, `0171/1234567`, `01 23 45 67 89`, `0049 30 1234567`.
    fn is_with_trunk_prefix(&self) -> bool {
        let Some(first) = self.first() else { return false };
        // Both of them digits of the first group.
        let international = first.length() > 1 && self.starts(b"00");
        let length = if international { 11..=17 } else { 9..=12 };
        first.joint == Joint::None
            && self.starts(b"0")
            && !(first.length() > 2 && self.starts(b"000"))
            && first.length() > 1
            && self.groups().len() > 1
            && !self.single_open
            && length.contains(&self.length())
    }
}

/// Numbers that were given out: not 000, 666 or 900 and up, no part all zeros.
fn is_assigned(digits: &[u8]) -> bool {
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let area = part(0..3);
    area != b"000" && area != b"666" && !area.starts_with(b"9") && part(3..5) != b"00" && part(5..9) != b"0000"
}

/// Whether an issuer gives out numbers of this beginning and length.
fn is_issued(digits: &[u8], grouped: bool) -> bool {
    let prefix = |length: usize| {
        digits.iter().take(length).fold(0_u32, |value, digit| value * 10 + u32::from(digit.wrapping_sub(b'0')))
    };
    let length = digits.len();
    match (prefix(2), prefix(4)) {
        (40..=49, _) => matches!(length, 16 | 19) || (length == 13 && grouped),
        (51..=55, _) | (_, 2221..=2720) => length == 16,
        (34 | 37, _) => length == 15,
        (30, 3000..=3059) | (36 | 38 | 39, _) => length == 14,
        (_, 3528..=3589 | 6011 | 6440..=6499) | (62 | 65, _) => (16..=19).contains(&length),
        (50 | 56..=58 | 63 | 67, _) => (12..=19).contains(&length) && grouped,
        _ => false,
    }
}

/// The check digit of payment cards (ISO/IEC 7812).
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .map(|digit| {
            #[cfg(test)]
            work::count();
            u32::from(digit.wrapping_sub(b'0'))
        })
        .enumerate()
        .map(|(index, digit)| match index % 2 {
            0 => digit,
            _ => (digit * 2) / 10 + (digit * 2) % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}
