//! Powers as mathematics reads them: they bind more than a sign before them, and from the right.
//!
//! The engine that evaluates takes `-2 ** 2` for `(-2) ** 2`, and `2 ** 3 ** 2` for `(2 ** 3) ** 2`. Parentheses say to
//! it what is meant; everything else goes through as it was written.

use std::iter::Peekable;
use std::str::Chars;

/// How deep parentheses and powers stand in each other.
const DEPTH_MAX: usize = 64;

/// The expression with parentheses around its powers.
///
/// # Errors
/// When it is nested too deeply.
pub(super) fn grouped(expression: &str) -> Result<String, String> {
    let mut reader = Reader { rest: expression.chars().peekable(), out: String::new() };
    while reader.rest.peek().is_some() {
        reader.until_closed(DEPTH_MAX)?;
        // A parenthesis that closes nothing: the engine says what is wrong with it.
        reader.out.extend(reader.rest.next());
    }
    Ok(reader.out)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Reader<'_> {
    /// Everything up to the end, or to the parenthesis that closes this part.
    fn until_closed(&mut self, depth: usize) -> Result<(), String> {
        while let Some(&next) = self.rest.peek() {
            if next == ')' {
                return Ok(());
            }
            if starts_operand(next) {
                self.power(depth)?;
            } else {
                self.out.push(next);
                self.rest.next();
            }
        }
        Ok(())
    }

    /// An operand and its exponent, if it has one.
    fn power(&mut self, depth: usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or("the expression is nested too deeply")?;
        let begin = self.out.len();
        self.operand(depth)?;
        self.copy_while(char::is_whitespace);
        let mut ahead = self.rest.clone();
        if (ahead.next(), ahead.next()) != (Some('*'), Some('*')) {
            return Ok(());
        }
        self.rest = ahead;
        self.out.insert(begin, '(');
        self.out.push_str("**");
        self.copy_while(|c| c.is_whitespace() || c == '-');
        if self.rest.peek().copied().is_some_and(starts_operand) {
            self.power(depth)?;
        }
        self.out.push(')');
        Ok(())
    }

    /// A number, a name with what it is called with, or a part in parentheses.
    fn operand(&mut self, depth: usize) -> Result<(), String> {
        let number = self.rest.peek().is_some_and(|c| c.is_ascii_digit() || *c == '.');
        self.copy_while(in_word);
        if number && self.out.ends_with(['e', 'E']) && matches!(self.rest.peek(), Some('+' | '-')) {
            self.out.extend(self.rest.next());
            self.copy_while(in_word);
        }
        if self.rest.peek() != Some(&'(') {
            return Ok(());
        }
        self.out.extend(self.rest.next());
        self.until_closed(depth)?;
        self.out.extend(self.rest.next());
        Ok(())
    }

    fn copy_while(&mut self, fits: impl Fn(char) -> bool) {
        while let Some(next) = self.rest.next_if(|next| fits(*next)) {
            self.out.push(next);
        }
    }
}

fn starts_operand(next: char) -> bool {
    in_word(next) || next == '('
}

fn in_word(next: char) -> bool {
    next.is_alphanumeric() || next == '_' || next == '.'
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("-2**2", "-(2**2)")]
    #[case("2 ** 3 ** 2", "(2 **(3 ** 2))")]
    #[case("2**-3**2", "(2**-(3**2))")]
    #[case("max(1, -x ** 2)", "max(1, -(x ** 2))")]
    #[case("sqrt(4)**2 * 3", "(sqrt(4)**2 )* 3")]
    #[case("1e-5**2", "(1e-5**2)")]
    #[case("2 * 3 - 4", "2 * 3 - 4")]
    #[case("2 **", "(2 **)")]
    #[case("(2))**2", "(2))**2")]
    fn powers_stand_in_parentheses(#[case] expression: &str, #[case] expected: &str) {
        let without_spaces = |text: &str| text.replace(' ', "");
        assert_eq!(without_spaces(&grouped(expression).unwrap()), without_spaces(expected));
    }

    #[rstest]
    #[case("(".repeat(900))]
    #[case("2**".repeat(300))]
    fn depth_has_a_bound(#[case] expression: String) {
        assert!(grouped(&expression).is_err());
    }
}
