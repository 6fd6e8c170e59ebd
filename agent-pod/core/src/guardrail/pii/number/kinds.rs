//! What a span of groups is.

use super::super::Entity;
use super::super::context::Context;
use super::Group;

/// Neighbouring groups of a run.
pub(super) struct Span<'a> {
    pub(super) groups: &'a [Group],
    /// Whether they are all of the run.
    pub(super) whole: bool,
    pub(super) context: &'a Context,
}

impl Span<'_> {
    /// Whether it is one of this sort.
    pub(super) fn is(&self, entity: Entity) -> bool {
        let digits: String = self.groups.iter().map(|group| group.digits.as_str()).collect();
        match entity {
            Entity::CreditCard => self.is_card(&digits),
            Entity::Ssn => self.is_ssn(&digits),
            Entity::Phone => digits.len() > 6 && self.is_phone(&digits),
            Entity::Email | Entity::Iban | Entity::IpAddress => false,
        }
    }

    /// What joins it to the group before.
    fn joint(&self) -> &str {
        self.groups.first().map_or("", |group| group.separator.as_str())
    }

    fn lengths(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.digits.len()).collect()
    }

    /// What stands between the groups of the span.
    fn separators(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().skip(1).map(|group| group.separator.as_str())
    }

    /// Whether it has the marks of a telephone number. Parentheses around all of it are those of the sentence.
    fn signed(&self) -> bool {
        self.groups.iter().any(|group| group.plus || (group.enclosed && self.groups.len() > 1))
    }

    fn is_card(&self, digits: &str) -> bool {
        let in_fours = self.groups.iter().rev().skip(1).all(|group| group.digits.len() == 4);
        let joined = |separator: &str| matches!(separator, " " | "-") || (separator == "." && in_fours);
        !self.signed()
            && self.separators().all(joined)
            && self.groups.iter().all(|group| group.digits.len() > 1)
            && is_issued(digits, self.whole && self.groups.len() > 1)
            && luhn(digits)
    }

    fn is_ssn(&self, digits: &str) -> bool {
        if digits.len() != 9 || self.signed() || !is_assigned(digits) {
            return false;
        }
        match self.lengths().as_slice() {
            [3, 2, 4] => {
                let separators: Vec<_> = self.separators().collect();
                let even = matches!(separators.as_slice(), [a, b] if a == b);
                even && match separators.first() {
                    Some(&"-") => true,
                    Some(&(" " | ".")) => self.whole || self.context.announces_ssn(),
                    _ => false,
                }
            }
            [9] => self.context.announces_ssn(),
            _ => false,
        }
    }

    fn is_phone(&self, digits: &str) -> bool {
        // Signs and parentheses belong to the beginning; another one is another number.
        let Some((first, others)) = self.groups.split_first() else { return false };
        if others.iter().any(|group| group.plus) || digits.bytes().all(|digit| digit == b'0') {
            return false;
        }
        if first.plus {
            let length = if digits.starts_with('1') { 11..=11 } else { 8..=15 };
            return !digits.starts_with('0') && length.contains(&digits.len());
        }
        // Nothing begins in the middle of something else.
        if self.context.announces_other() || matches!(self.joint(), "-" | "." | "/") {
            return false;
        }
        self.is_enclosed(digits) || self.is_national() || self.is_with_trunk_prefix(digits) || self.is_announced(digits)
    }

    /// `(555) 123-4567`, `1 (555) 123-4567`, `(030) 1234567`, `(11) 91234-5678`.
    fn is_enclosed(&self, digits: &str) -> bool {
        let area = match self.groups {
            [area, ..] if area.enclosed => area,
            [country, area, ..] if area.enclosed && country.digits == "1" => area,
            _ => return false,
        };
        match area.digits.len() {
            2..=5 if area.digits.starts_with('0') => (8..=12).contains(&digits.len()),
            3 => matches!(digits.len(), 10 | 11),
            2 => matches!(digits.len(), 10 | 11) && self.groups.len() > 1,
            _ => false,
        }
    }

    /// `555-123-4567`, `1.555.123.4567`, `138 1234 5678`.
    fn is_national(&self) -> bool {
        let firm = self.separators().all(|separator| matches!(separator, "-" | "."));
        let spaced = self.separators().all(|separator| matches!(separator, "-" | "." | " ")) && self.whole;
        let starts = |prefix: char| self.groups.first().is_some_and(|group| group.digits.starts_with(prefix));
        match self.lengths().as_slice() {
            [3, 3, 4] => (firm || spaced) && !starts('0'),
            [1, 3, 3, 4] => (firm || spaced) && starts('1'),
            [3, 4, 4] => {
                let second = self.groups.first().and_then(|group| group.digits.chars().nth(1));
                (firm || spaced) && starts('1') && second.is_some_and(|digit| ('3'..='9').contains(&digit))
            }
            _ => false,
        }
    }

    /// `020 7946 0958`, `0171/1234567`, `01 23 45 67 89`, `0049 30 1234567`.
    fn is_with_trunk_prefix(&self, digits: &str) -> bool {
        let Some(first) = self.groups.first() else { return false };
        let international = first.digits.starts_with("00");
        let length = if international { 11..=17 } else { 9..=12 };
        self.joint().is_empty()
            && first.digits.starts_with('0')
            && !first.digits.starts_with("000")
            && first.digits.len() > 1
            && self.groups.len() > 1
            && self.groups.iter().all(|group| group.digits.len() > 1 || group.enclosed)
            && length.contains(&digits.len())
    }

    fn is_announced(&self, digits: &str) -> bool {
        (7..=15).contains(&digits.len()) && self.context.announces_phone()
    }
}

/// Numbers that were given out: not 000, 666 or 900 and up, no part all zeros.
fn is_assigned(digits: &str) -> bool {
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let area = part(0..3);
    area != "000" && area != "666" && !area.starts_with('9') && part(3..5) != "00" && part(5..9) != "0000"
}

/// Whether an issuer gives out numbers of this beginning and length.
fn is_issued(digits: &str, grouped: bool) -> bool {
    let prefix = |length: usize| digits.get(..length).and_then(|prefix| prefix.parse::<u32>().ok()).unwrap_or(0);
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
fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .chars()
        .rev()
        .filter_map(|digit| digit.to_digit(10))
        .enumerate()
        .map(|(index, digit)| match index % 2 {
            0 => digit,
            _ => (digit * 2) / 10 + (digit * 2) % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}
