//! What a template may look like before it is compiled.
//!
//! The engine parses, compiles and drops expressions by recursion, and computes constants while it compiles, without a
//! bound on either. So the tokens are looked at first, in one pass without recursion: what they would nest is counted,
//! and a template beyond the bounds is never given to the engine.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::PromptError;

/// Operators, filters, tests, dots, subscripts and calls in one expression, counted along what stands in each other.
const OPERATORS_MAX: usize = 100;

/// Brackets in brackets.
const BRACKETS_MAX: usize = 24;

/// Blocks in blocks (`for`, `if`, …), with the `elif`s of each.
const BLOCKS_MAX: usize = 60;

/// Characters of a line, and lines: the engine counts both in 16 bits, without a bound.
const COLUMNS_MAX: usize = 65_000;
const LINES_MAX: usize = 65_000;

/// Words that are no operand, so that a bracket behind them begins a list.
const OPERATORS: [&str; 7] = ["if", "else", "and", "or", "not", "in", "is"];

/// Refuses what would nest too deeply.
///
/// # Errors
/// [`PromptError::Syntax`] with the line. What is no token at all is for the engine to complain of.
pub(crate) fn check(source: &str, is_expression: bool) -> Result<(), PromptError> {
    let Some((line, beyond, what)) = uncountable(source) else { return check_tokens(source, is_expression) };
    // What is wrong with the template before that says more.
    check_tokens(source.get(..beyond).unwrap_or_default(), is_expression)?;
    Err(PromptError::Syntax { line, reason: format!("{what}; break it into several, or leave some out") })
}

/// Where the source has more than the engine can count: the line, the byte, and what there is too much of.
fn uncountable(source: &str) -> Option<(usize, usize, String)> {
    let mut begin = 0;
    for (index, line) in source.split_inclusive('\n').enumerate() {
        if index == LINES_MAX {
            return Some((LINES_MAX, begin, format!("there are more than {LINES_MAX} lines")));
        }
        if let Some((column, _)) = line.char_indices().nth(COLUMNS_MAX) {
            return Some((index + 1, begin + column, format!("the line has more than {COLUMNS_MAX} characters")));
        }
        begin += line.len();
    }
    None
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the engine's tokens: all others are operators or operands")]
fn check_tokens(source: &str, is_expression: bool) -> Result<(), PromptError> {
    let mut expression = Expression::default();
    let mut blocks = Blocks::default();
    let mut before: Option<Before> = None;
    for found in tokenize(source, is_expression, SyntaxConfig::default()) {
        let Ok((token, span)) = found else { return Ok(()) };
        let looked_at = match &token {
            Token::TemplateData(_) | Token::VariableEnd => Ok(()),
            Token::VariableStart | Token::BlockStart => {
                expression = Expression::default();
                Ok(())
            }
            Token::Ident(word) if matches!(before, Some(Before::BlockStart)) => {
                blocks.begin(word).and_then(|()| expression.next(&token, false))
            }
            Token::BlockEnd => blocks.end_of_tag(),
            Token::Assign => {
                blocks.assigned();
                Ok(())
            }
            other => expression.next(other, matches!(before, Some(Before::Operand))),
        };
        looked_at.map_err(|reason| PromptError::Syntax { line: usize::from(span.start_line), reason })?;
        let keyword = matches!((&before, &token), (Some(Before::BlockStart), Token::Ident(_)));
        before = if matches!(token, Token::BlockStart) {
            Some(Before::BlockStart)
        } else {
            (is_operand(&token) && !keyword).then_some(Before::Operand)
        };
    }
    Ok(())
}

/// What the last token was, if it matters.
enum Before {
    BlockStart,
    Operand,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the engine's tokens: few of them are operands")]
fn is_operand(token: &Token<'_>) -> bool {
    match token {
        Token::Ident(word) => !OPERATORS.contains(word),
        Token::BracketClose | Token::ParenClose | Token::BraceClose => true,
        other => is_literal(other),
    }
}

fn is_literal(token: &Token<'_>) -> bool {
    matches!(token, Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_))
}

/// The expression that is open, as a stack of what is in brackets.
struct Expression {
    parts: Vec<Part>,
    /// Operators of all open parts.
    operators: usize,
}

/// What stands between two brackets, or all of it; begins anew with each comma.
#[derive(Default)]
struct Part {
    operators: usize,
    /// How deep the brackets in it were that are closed.
    nested: usize,
    /// The deepest of what the commas have ended.
    deepest: usize,
    /// Whether it is what something is called with.
    is_call: bool,
    /// Whether there is a list that is written out, and whether something is multiplied.
    list: bool,
    times: bool,
}

impl Default for Expression {
    fn default() -> Self {
        Self { parts: vec![Part::default()], operators: 0 }
    }
}

impl Expression {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the engine's tokens: all others are operators")]
    fn next(&mut self, token: &Token<'_>, after_operand: bool) -> Result<(), String> {
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.operator(|part| part.list |= matches!(token, Token::BracketOpen) && !after_operand)?;
                if self.parts.len() > BRACKETS_MAX {
                    return Err(format!("brackets stand in each other more than {BRACKETS_MAX} deep"));
                }
                let is_call = after_operand || !matches!(token, Token::ParenOpen);
                self.parts.push(Part { is_call, ..Part::default() });
                Ok(())
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => self.close(),
            Token::Comma | Token::Colon => {
                if let Some(part) = self.parts.last_mut() {
                    self.operators -= part.operators;
                    let deepest = part.deepest.max(part.operators + part.nested);
                    *part = Part { deepest, is_call: part.is_call, ..Part::default() };
                }
                Ok(())
            }
            Token::Mul => self.operator(|part| part.times = true),
            Token::Ident(word) if !OPERATORS.contains(word) => Ok(()),
            other => {
                if is_literal(other) {
                    return Ok(());
                }
                self.operator(|_part| {})
            }
        }
    }

    fn operator(&mut self, note: impl FnOnce(&mut Part)) -> Result<(), String> {
        let Some(part) = self.parts.last_mut() else { return Ok(()) };
        part.operators += 1;
        self.operators += 1;
        note(part);
        self.bounded()
    }

    /// A part is done: how deep it went stands in the one around it.
    fn close(&mut self) -> Result<(), String> {
        if self.parts.len() < 2 {
            return Ok(());
        }
        let Some(inner) = self.parts.pop() else { return Ok(()) };
        self.operators -= inner.operators;
        if let Some(part) = self.parts.last_mut() {
            part.nested = part.nested.max(inner.deepest.max(inner.operators + inner.nested));
            part.list |= inner.list && !inner.is_call;
        }
        self.bounded()
    }

    fn bounded(&self) -> Result<(), String> {
        let Some(part) = self.parts.last() else { return Ok(()) };
        // The engine works out what is constant while it compiles, for example each item of a list times a billion.
        if part.list && part.times {
            return Err("a list is written out beside a `*`; use a loop over `range`, or take the list out with `set`"
                .to_owned());
        }
        if self.operators + part.nested > OPERATORS_MAX {
            return Err(format!(
                "more than {OPERATORS_MAX} operators, filters and brackets stand in one expression; take parts of it out with `set`"
            ));
        }
        Ok(())
    }
}

/// The blocks that are open, each with its `elif`s.
#[derive(Default)]
struct Blocks {
    open: Vec<usize>,
    depth: usize,
    /// A `set` whose tag is open, and has no `=` so far.
    setting: bool,
}

impl Blocks {
    fn begin(&mut self, word: &str) -> Result<(), String> {
        self.setting = word == "set";
        match word {
            "for" | "if" | "with" | "filter" | "block" | "macro" | "call" | "autoescape" => self.push(),
            "elif" => {
                if let Some(block) = self.open.last_mut() {
                    *block += 1;
                }
                self.deeper()
            }
            word if word.starts_with("end") => {
                self.depth -= self.open.pop().unwrap_or_default();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn assigned(&mut self) {
        self.setting = false;
    }

    fn end_of_tag(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.setting) { self.push() } else { Ok(()) }
    }

    fn push(&mut self) -> Result<(), String> {
        self.open.push(1);
        self.deeper()
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > BLOCKS_MAX {
            return Err(format!(
                "blocks stand in each other, or `elif`s follow each other, more than {BLOCKS_MAX} deep"
            ));
        }
        Ok(())
    }
}
