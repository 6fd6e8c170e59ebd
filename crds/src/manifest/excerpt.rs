//! Texts of others, as long as a message can bear: a value or a name may have megabytes.

use std::fmt::{self, Display, Write};

/// The most characters of a value, of a name, or of a line.
const CHARS_MAX: usize = 100;

/// The most lines of a text of several.
const LINES_MAX: usize = 16;

/// The first 100 characters of what `text` says, with `…` where there are more.
#[must_use]
pub fn excerpt(text: impl Display) -> String {
    written(text, 1)
}

/// The same for each line, of the first 16 lines: for errors that show where in a text they are.
#[must_use]
pub fn excerpt_of_lines(text: impl Display) -> String {
    written(text, LINES_MAX)
}

fn written(text: impl Display, lines: usize) -> String {
    let mut excerpt = Excerpt { text: String::new(), lines, chars: CHARS_MAX };
    // It refuses what is too much, and keeps what it has.
    let _cut_off = write!(excerpt, "{text}");
    excerpt.text
}

/// Takes no more than there is room for, so that a large value is not written as a whole first.
struct Excerpt {
    text: String,
    /// The lines that there is room for, with this one. The last one goes on over what would end it.
    lines: usize,
    /// The characters that there is room for in this line.
    chars: usize,
}

impl Write for Excerpt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c == '\n' && self.lines > 1 {
                (self.lines, self.chars) = (self.lines - 1, CHARS_MAX);
                self.text.push(c);
                continue;
            }
            match self.chars {
                0 if self.lines == 1 && self.text.ends_with('…') => return Err(fmt::Error),
                0 if self.text.ends_with('…') => {}
                0 => self.text.push('…'),
                _ => {
                    self.chars -= 1;
                    self.text.push(c);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays() {
        assert_eq!(excerpt("a\nb"), "a\nb");
        assert_eq!(excerpt("ä".repeat(100)), "ä".repeat(100));
        assert_eq!(excerpt_of_lines("a\nb\n"), "a\nb\n");
    }

    #[test]
    fn what_is_long_is_cut_at_a_character() {
        assert_eq!(excerpt("ä".repeat(101)), format!("{}…", "ä".repeat(100)));
        assert_eq!(excerpt("9".repeat(4_000_000)).chars().count(), 101);
        assert_eq!(excerpt(serde_json::Value::from(vec!["x".repeat(1_000); 1_000])).chars().count(), 101);
    }

    #[test]
    fn each_line_is_cut_by_itself() {
        let long = "x".repeat(1_000);
        assert_eq!(excerpt_of_lines(format!("a\n{long}\nb")), format!("a\n{}…\nb", "x".repeat(100)));
        assert!(excerpt_of_lines(format!("{long}\n").repeat(10_000)).chars().count() < 1_800);
    }
}
