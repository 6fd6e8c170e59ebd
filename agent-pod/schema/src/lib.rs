//! JSON Schemas (draft 2020-12) whose work is bounded before it begins.
//!
//! ```text
//!  schema ─► inspect: size, patterns, references ─► Work ─► compile
//!                 └─ more than a schema may cost: refused, with the place and what to do
//!  value  ─► Work::of(value): an upper bound of what the check costs ─► check
//!                 └─ more than a check may cost: refused without being checked
//! ```
//!
//! The validator has no fuel of its own. What a check can cost is therefore counted from the schema alone: how often one
//! place of a value, so and so deep, is looked at along all ways that the schema leads there.

mod fault;
mod graph;
mod looks;
mod pattern;
mod unique;
mod work;

use std::borrow::Cow;

use jsonschema::Validator;
use serde_json::Value;

pub use fault::SchemaError;
use fault::{at, invalid};
pub use graph::{ALL_VALUES_MAX, DEPTH_MAX, PATTERN_STATES_MAX, VALUES_MAX};
pub use work::{CHAIN_MAX, CHECK_WORK_MAX, VISITS_MAX, Work};

/// The most problems that are told of one value: enough to mend it.
const PROBLEMS_MAX: usize = 8;

/// A check of more work takes more than about a millisecond, and is better done on a thread that serves no sockets: telling
/// what is wrong takes ten times as long as finding that all is well.
pub const OFFLOADED_WORK: u64 = 5_000;

/// Up to this much work every problem of a value is looked for; beyond it only whether there is one. A problem takes
/// some hundred bytes until it is told.
const DETAILS_WORK_MAX: u64 = 20_000;

/// A compiled pattern has at most about so many bytes. The states have been counted before: this is the second bolt.
const PATTERN_BYTES_MAX: usize = 4 << 20;

/// The cache of one pattern's matcher, which grows with the texts that it meets.
const PATTERN_CACHE_BYTES_MAX: usize = 256 << 10;

/// A compiled schema.
///
/// Nothing is fetched: a reference to another document is an error of the schema. Patterns match in linear time.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    work: Work,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When it is none or costs too much, with the place in the schema.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let work = inspect(schema)?;
        let patterns =
            jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_CACHE_BYTES_MAX);
        let options = jsonschema::draft202012::options()
            .with_pattern_options(patterns)
            .with_keyword("uniqueItems", |_, said, _| Ok(Box::new(unique::UniqueItems::of(said))));
        let validator = options.build(schema).map_err(|error| invalid(&error))?;
        Ok(Self { validator, work })
    }

    /// At most so much work, in looks at one place of a value, is the check of this value.
    #[must_use]
    pub fn work(&self, value: &Value) -> u64 {
        self.work.of(value)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What is wrong, each with its place; never empty, and of bounded length.
    pub fn check(&self, value: &Value) -> Result<(), Vec<String>> {
        let work = self.work(value);
        if work > CHECK_WORK_MAX {
            return Err(vec!["it is too large or too deeply nested to be checked; make it smaller".to_owned()]);
        }
        if self.validator.is_valid(value) {
            return Ok(());
        }
        if self.work.of_details(value) > DETAILS_WORK_MAX {
            return Err(vec!["it does not fit, and is too large for saying where; make it smaller".to_owned()]);
        }
        // The value itself is the sender's own and may be long.
        let told = self.validator.iter_errors(value).take(PROBLEMS_MAX + 1);
        let mut problems: Vec<String> = told
            .map(|error| at(&error.instance_path().to_string(), &error.masked_with("the value").to_string()))
            .collect();
        if problems.len() > PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            problems.push("and more".to_owned());
        }
        Err(problems)
    }
}

/// What a schema costs, without compiling it: pure, and at most some ten milliseconds for the costliest one that may be.
///
/// # Errors
/// When it costs too much, or a reference or pattern of it cannot be used.
pub fn inspect(schema: &Value) -> Result<Work, SchemaError> {
    inspect_adding(schema, &mut 0)
}

/// As [`inspect`], and adds what it has taken, whether the schema can be used or not: its values, and its patterns as so
/// many values as take as long. Who takes several schemas holds the sum against [`ALL_VALUES_MAX`].
///
/// # Errors
/// When it costs too much, or a reference or pattern of it cannot be used.
pub fn inspect_adding(schema: &Value, spent: &mut usize) -> Result<Work, SchemaError> {
    work::count(&graph::read(schema, spent)?)
}

/// Whether a schema can be compiled, as far as that shows without compiling it: what [`inspect`] finds, and whether its
/// keywords are what the draft says. Gives the number of values in it, its patterns counted as some more.
///
/// # Errors
/// With the place in the schema.
pub fn validate(schema: &Value) -> Result<usize, SchemaError> {
    let mut spent = 0;
    inspect_adding(schema, &mut spent)?;
    jsonschema::draft202012::meta::validate(schema).map_err(|error| invalid(&error))?;
    Ok(spent)
}

/// The beginning of a text, with a mark where it was cut.
pub(crate) fn clip(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max).and_then(|(end, _)| text.get(..end)) {
        Some(beginning) => Cow::Owned(format!("{beginning}…")),
        None => Cow::Borrowed(text),
    }
}
