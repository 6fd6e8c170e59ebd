//! Mail and IP addresses.

use std::net::Ipv6Addr;

use super::super::glyph::{in_word, stands_alone};
use super::super::scan::{Ahead, More};
use super::context;

/// The longest part before the `@` (RFC 5321).
const LOCAL_MAX: usize = 64;

/// With the part before the `@` no longer than the window.
const DOMAIN_MAX: usize = 190;

/// `local@label.label`, the last label with at least two characters and a letter first.
pub(super) fn email(ahead: Ahead<'_>) -> Result<Option<usize>, More> {
    if !ahead.at(0)?.is_some_and(in_word) {
        return Ok(None);
    }
    let mut local = 1;
    while ahead.at(local)?.is_some_and(in_local) {
        local += 1;
        if local > LOCAL_MAX {
            return Ok(None);
        }
    }
    if ahead.at(local)? != Some('@') {
        return Ok(None);
    }
    let domain = ahead.skip(local + 1);
    Ok(domain_length(domain)?.map(|length| local + 1 + length))
}

fn in_local(reads: char) -> bool {
    in_word(reads) || matches!(reads, '_' | '.' | '%' | '+' | '-' | '\'' | '&' | '~')
}

/// The longest beginning that is a domain.
fn domain_length(domain: Ahead<'_>) -> Result<Option<usize>, More> {
    // A name in a script without spaces goes on in it; after any other one such a letter begins the next word.
    let foreign = domain.at(0)?.is_some_and(stands_alone);
    let in_label = |reads: char| in_word(reads) || reads == '-' || (foreign && stands_alone(reads));
    let (mut at, mut labels, mut end) = (0, 0, None);
    loop {
        let start = at;
        while at < DOMAIN_MAX && domain.at(at)?.is_some_and(in_label) {
            at += 1;
        }
        if at == start {
            return Ok(end);
        }
        labels += 1;
        let letter_first = domain.at(start)?.is_some_and(char::is_alphabetic);
        if labels > 1 && at - start > 1 && letter_first {
            end = Some(at);
        }
        if domain.at(at)? != Some('.') || at >= DOMAIN_MAX {
            return Ok(end);
        }
        at += 1;
    }
}

/// The most digits of a group of an IPv6 address.
const GROUP_MAX: usize = 4;

/// An IPv4 or IPv6 address.
pub(super) fn ip(ahead: Ahead<'_>) -> Result<Option<usize>, More> {
    if ahead.before().is_some_and(|before| in_word(before) || before == '.') {
        return Ok(None);
    }
    match ipv4(ahead)? {
        Some(length) if !context::names_version(ahead.back()) => Ok(Some(length)),
        Some(_) => Ok(None),
        None if ahead.before() == Some(':') && !is_labelled(ahead.back()) => Ok(None),
        None => ipv6(ahead),
    }
}

/// Whether the colon at the end of what went before is behind a word, and no part of an IPv6 address.
fn is_labelled(back: &[char]) -> bool {
    let [label @ .., ':'] = back else { return false };
    let word = label.iter().rev().take(GROUP_MAX + 1).take_while(|reads| in_word(**reads));
    let (length, hex) = word.fold((0, true), |(length, hex), reads| (length + 1, hex && reads.is_ascii_hexdigit()));
    if length == 0 { label.last() != Some(&':') } else { length > GROUP_MAX || !hex }
}

/// Whether one begins here, behind a border.
pub(super) fn begins(ahead: Ahead<'_>) -> Result<bool, More> {
    Ok(ipv4(ahead)?.is_some() || ipv6(ahead)?.is_some())
}

/// Four numbers up to 255 without zeros in front, and no fifth one.
fn ipv4(ahead: Ahead<'_>) -> Result<Option<usize>, More> {
    let mut at = 0;
    for part in 0..4 {
        if part > 0 {
            if ahead.at(at)? != Some('.') {
                return Ok(None);
            }
            at += 1;
        }
        let start = at;
        let mut value = 0;
        while let Some(digit) = ahead.at(at)?.and_then(|reads| reads.to_digit(10)) {
            value = value * 10 + digit;
            at += 1;
            if value > 255 || at - start > 3 {
                return Ok(None);
            }
        }
        if at == start || (at - start > 1 && ahead.at(start)? == Some('0')) {
            return Ok(None);
        }
    }
    let ends = match ahead.at(at)? {
        Some('.') => !ahead.at(at + 1)?.is_some_and(|reads| reads.is_ascii_digit()),
        next => !next.is_some_and(in_word),
    };
    Ok(ends.then_some(at))
}

/// The longest one that can be written, with an IPv4 address at its end.
const IPV6_MAX: usize = 45;

fn ipv6(ahead: Ahead<'_>) -> Result<Option<usize>, More> {
    if !ahead.at(0)?.is_some_and(|reads| reads.is_ascii_hexdigit() || reads == ':') {
        return Ok(None);
    }
    let (mut text, mut length, mut in_groups) = ([0_u8; IPV6_MAX], 0, false);
    while let Some(reads) = ahead.at(length)?.filter(|reads| reads.is_ascii_hexdigit() || matches!(reads, ':' | '.')) {
        let (Ok(character), Some(place)) = (u8::try_from(reads), text.get_mut(length)) else { return Ok(None) };
        *place = character;
        length += 1;
        in_groups |= reads == ':';
        // No group has more than four digits: most words end here.
        if length == 5 && !in_groups {
            return Ok(None);
        }
    }
    if !in_groups || ahead.at(length)?.is_some_and(in_word) {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(text.get(..length).unwrap_or_default()) else { return Ok(None) };
    let mut address = text.trim_end_matches('.');
    if address.ends_with(':') && !address.ends_with("::") {
        address = address.trim_end_matches(':');
    }
    Ok((address.parse::<Ipv6Addr>().is_ok() && is_no_code(address)).then_some(address.len()))
}

/// `a::b` is a path in code, `::` an operator.
fn is_no_code(address: &str) -> bool {
    let digits = address.chars().filter(char::is_ascii_hexdigit).count();
    address == "::1" || (digits >= 3 && address.chars().any(|reads| reads.is_ascii_digit()))
}
