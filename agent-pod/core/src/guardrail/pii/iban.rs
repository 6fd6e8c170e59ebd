//! International bank account numbers (ISO 13616): known countries, their lengths, the check digits.

use super::super::glyph::in_word;
use super::super::scan::{Ahead, More};

/// Country and length, by country.
const LENGTHS: [(&str, usize); 88] = [
    ("ad", 24),
    ("ae", 23),
    ("al", 28),
    ("at", 20),
    ("az", 28),
    ("ba", 20),
    ("be", 16),
    ("bg", 22),
    ("bh", 22),
    ("bi", 27),
    ("br", 29),
    ("by", 28),
    ("ch", 21),
    ("cr", 22),
    ("cy", 28),
    ("cz", 24),
    ("de", 22),
    ("dj", 27),
    ("dk", 18),
    ("do", 28),
    ("ee", 20),
    ("eg", 29),
    ("es", 24),
    ("fi", 18),
    ("fk", 18),
    ("fo", 18),
    ("fr", 27),
    ("gb", 22),
    ("ge", 22),
    ("gi", 23),
    ("gl", 18),
    ("gr", 27),
    ("gt", 28),
    ("hn", 28),
    ("hr", 21),
    ("hu", 28),
    ("ie", 22),
    ("il", 23),
    ("iq", 23),
    ("is", 26),
    ("it", 27),
    ("jo", 30),
    ("kw", 30),
    ("kz", 20),
    ("lb", 28),
    ("lc", 32),
    ("li", 21),
    ("lt", 20),
    ("lu", 20),
    ("lv", 21),
    ("ly", 25),
    ("mc", 27),
    ("md", 24),
    ("me", 22),
    ("mk", 19),
    ("mn", 20),
    ("mr", 27),
    ("mt", 31),
    ("mu", 30),
    ("ni", 28),
    ("nl", 18),
    ("no", 15),
    ("om", 23),
    ("pk", 24),
    ("pl", 28),
    ("ps", 29),
    ("pt", 25),
    ("qa", 29),
    ("ro", 24),
    ("rs", 22),
    ("ru", 33),
    ("sa", 24),
    ("sc", 31),
    ("sd", 18),
    ("se", 24),
    ("si", 19),
    ("sk", 24),
    ("sm", 27),
    ("so", 23),
    ("st", 25),
    ("sv", 28),
    ("tl", 23),
    ("tn", 24),
    ("tr", 26),
    ("ua", 29),
    ("va", 22),
    ("vg", 24),
    ("xk", 20),
];

/// The longest of them.
const LENGTH_MAX: usize = 34;

/// An account number, its characters apart by at most one space or dash.
pub(super) fn at(ahead: Ahead<'_>) -> Result<Option<usize>, More> {
    let mut characters = [0_u8; LENGTH_MAX];
    let (mut count, mut length, mut at) = (0, 4, 0);
    while count < length {
        let Some(reads) = ahead.at(at)? else { return Ok(None) };
        let separates = matches!(reads, ' ' | '-');
        if separates && count > 3 && !matches!(ahead.skip(at).before(), Some(' ' | '-')) {
            at += 1;
            continue;
        }
        let fits = match count {
            0 | 1 => reads.is_ascii_lowercase(),
            2 | 3 => reads.is_ascii_digit(),
            _ => reads.is_ascii_alphanumeric(),
        };
        let (true, Ok(character), Some(place)) = (fits, u8::try_from(reads), characters.get_mut(count)) else {
            return Ok(None);
        };
        *place = character;
        count += 1;
        at += 1;
        if count == 2 {
            let Some(known) = length_in(characters.get(..2).unwrap_or_default()) else { return Ok(None) };
            length = known;
        }
    }
    let ends = !ahead.at(at)?.is_some_and(in_word);
    Ok((ends && remainder(characters.get(..length).unwrap_or_default()) == 1).then_some(at))
}

fn length_in(country: &[u8]) -> Option<usize> {
    let found = LENGTHS.binary_search_by(|(known, _)| known.as_bytes().cmp(country)).ok()?;
    LENGTHS.get(found).map(|(_, length)| *length)
}

/// ISO 7064: the first four characters behind the others, letters as 10 to 35, modulo 97.
fn remainder(characters: &[u8]) -> u32 {
    let (head, tail) = characters.split_at_checked(4).unwrap_or_default();
    tail.iter().chain(head).filter_map(|character| char::from(*character).to_digit(36)).fold(0, |rest, value| {
        let shift = if value > 9 { 100 } else { 10 };
        (rest * shift + value) % 97
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_in_the_order_that_they_are_searched_in() {
        assert!(LENGTHS.is_sorted());
        assert!(LENGTHS.iter().all(|(_, length)| *length <= LENGTH_MAX));
    }
}
