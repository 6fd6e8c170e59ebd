//! Characters that are written as escapes of JSON (RFC 8259, section 7): data from tools and answers that are data hold
//! them, and `\n` in front of a number must not make a word with it.
//!
//! Escapes are read in any text, because nobody can tell from its first pieces whether a text will be JSON. In prose they
//! are rare, and what is redacted is cut out of the text as it was written.

/// What the characters from a backslash on are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// An escape that is not whole.
    Begun,
    /// The escape of this character.
    Whole(char),
    /// No escape: the last character does not belong to one.
    No,
}

/// Reads characters that begin with a backslash, as many of them as have come.
pub(super) fn read(written: &str) -> Escape {
    let mut characters = written.chars();
    characters.next();
    let Some(kind) = characters.next() else { return Escape::Begun };
    let plain = match kind {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        '"' | '\\' | '/' => kind,
        'u' => return hexadecimal(characters.as_str()),
        _other => return Escape::No,
    };
    Escape::Whole(plain)
}

fn hexadecimal(digits: &str) -> Escape {
    if !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return Escape::No;
    }
    if digits.len() < 4 {
        return Escape::Begun;
    }
    // Half of a pair stands for nothing that anybody looks for.
    let code = u32::from_str_radix(digits, 16).ok();
    Escape::Whole(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("\\", Escape::Begun)]
    #[case("\\n", Escape::Whole('\n'))]
    #[case("\\\\", Escape::Whole('\\'))]
    #[case("\\u", Escape::Begun)]
    #[case("\\u004", Escape::Begun)]
    #[case("\\u0040", Escape::Whole('@'))]
    #[case("\\uD83D", Escape::Whole('\u{fffd}'))]
    #[case("\\u00g", Escape::No)]
    #[case("\\d", Escape::No)]
    fn an_escape_is_told_from_other_text(#[case] written: &str, #[case] expected: Escape) {
        assert_eq!(read(written), expected);
    }
}
