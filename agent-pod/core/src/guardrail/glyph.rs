//! Text as the recognisers see it: lower case, plain digits and letters, nothing invisible.
//!
//! Each visible character becomes one glyph that knows its bytes, so that what is found is cut out of the text as it
//! was written. Invisible characters and combining marks have no glyph.

use unicode_normalization::char::{canonical_combining_class, decompose_compatible};

/// A visible character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyph {
    /// How it reads.
    pub(super) reads: char,
    /// Where its bytes begin in the text.
    pub(super) start: usize,
    /// Where they end.
    pub(super) end: usize,
    /// How many characters stand before it, invisible ones included.
    pub(super) place: usize,
}

/// How a character reads; none: it is invisible or belongs to the one before it.
pub(super) fn reading(written: char) -> Option<char> {
    if written.is_ascii() {
        return Some(written.to_ascii_lowercase());
    }
    if is_invisible(written) || canonical_combining_class(written) != 0 {
        return None;
    }
    if let Some(plain) = plain_form(written) {
        return Some(plain);
    }
    // Syllables that fall into several letters, ligatures and fractions stay what they are.
    let (mut first, mut count) = (written, 0);
    decompose_compatible(written, |part| {
        if canonical_combining_class(part) == 0 {
            count += 1;
            if count == 1 {
                first = part;
            }
        }
    });
    let base = if count == 1 { first } else { written };
    let mut lower = base.to_lowercase();
    Some(lower.next().unwrap_or(base))
}

fn is_invisible(written: char) -> bool {
    matches!(written, '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}'
        | '\u{2800}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{13430}'..='\u{13438}' | '\u{16fe4}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// What Unicode does not hold for the same character, and readers do.
fn plain_form(written: char) -> Option<char> {
    Some(match written {
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '⁃' | '﹘' | '﹣' | '－' => '-',
        '․' | '。' | '｡' | '．' | '﹒' | '·' => '.',
        '∕' | '⁄' => '/',
        'ς' => 'σ',
        'ı' => 'i',
        space if space.is_whitespace() && space != '\u{2028}' && space != '\u{2029}' => ' ',
        digit => char::from(b'0' + decimal_digit(digit)?),
    })
}

/// The digits of the scripts that number with ten signs, each from its zero.
fn decimal_digit(written: char) -> Option<u8> {
    const ZEROS: [u32; 16] = [
        0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0e50, 0x0ed0,
        0x17e0, 0xff10,
    ];
    let code = u32::from(written);
    let mathematical = (0x1d7ce..=0x1d7ff).contains(&code).then(|| (code - 0x1d7ce) % 10);
    let offset = mathematical.or_else(|| ZEROS.iter().find_map(|zero| code.checked_sub(*zero).filter(|at| *at < 10)));
    offset.and_then(|offset| u8::try_from(offset).ok())
}

/// Whether it is of a script that writes words without spaces, or hangs endings on foreign words: its neighbours do not
/// make one word with it.
pub(super) fn stands_alone(reads: char) -> bool {
    matches!(u32::from(reads), 0x0e00..=0x0eff | 0x1000..=0x109f | 0x1100..=0x11ff | 0x1780..=0x17ff | 0x3040..=0x30ff
        | 0x3100..=0x31bf | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xa960..=0xa97f | 0xac00..=0xd7ff | 0xf900..=0xfaff
        | 0x20000..=0x3ffff)
}

/// Whether it goes on with a word next to it. `_` does not: it is emphasis in one text and joins words in another.
pub(super) fn in_word(reads: char) -> bool {
    reads.is_alphanumeric() && !stands_alone(reads)
}
