//! The fields of a JSON object, checked by hand so that every problem is named at once.

use agent_pod_core::error::{ErrorCode, FieldProblem, RunError};
use serde_json::{Map, Value};

/// The most problems that are named; whoever has more of them has one cause for most.
const PROBLEMS_MAX: usize = 32;

/// An object whose fields are taken out one by one. Null is absent, what nobody takes is ignored.
pub(crate) struct Fields {
    object: Map<String, Value>,
    /// In front of every path, for example `messages[0].`.
    prefix: String,
    /// What is wrong so far.
    pub(crate) problems: Vec<FieldProblem>,
    /// What is right, and yet nothing that this door takes.
    pub(crate) unsupported: Vec<FieldProblem>,
}

impl Fields {
    /// The fields of an object at `prefix`.
    pub(crate) fn new(object: Map<String, Value>, prefix: impl Into<String>) -> Self {
        Self { object, prefix: prefix.into(), problems: Vec::new(), unsupported: Vec::new() }
    }

    /// The field, unless it is absent or null.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// The path of a field from the top.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Names a problem of a field.
    pub(crate) fn refuse(&mut self, name: &str, message: &str) {
        let problem = problem(&self.path(name), message);
        self.add([problem]);
    }

    /// Adds problems that were found elsewhere, as far as they will be named.
    pub(crate) fn add(&mut self, problems: impl IntoIterator<Item = FieldProblem>) {
        gather(&mut self.problems, problems);
    }

    /// Names what this door does not take.
    pub(crate) fn decline(&mut self, name: &str, message: &str) {
        let problem = problem(&self.path(name), message);
        gather(&mut self.unsupported, [problem]);
    }

    /// The fields of `value`, which stands at the field `name`.
    pub(crate) fn nested(&mut self, name: &str, value: Value) -> Option<Self> {
        let Value::Object(object) = value else {
            self.refuse(name, "must be an object");
            return None;
        };
        Some(Self::new(object, format!("{}.", self.path(name))))
    }

    /// Takes over what was found in a nested object.
    pub(crate) fn absorb(&mut self, nested: Self) {
        gather(&mut self.problems, nested.problems);
        gather(&mut self.unsupported, nested.unsupported);
    }

    /// The field, which has to be there.
    pub(crate) fn require(&mut self, name: &str, what: &str) -> Option<Value> {
        let value = self.take(name);
        if value.is_none() {
            self.refuse(name, &format!("is required: {what}"));
        }
        value
    }

    /// A text that has to be there.
    pub(crate) fn required_text(&mut self, name: &str, what: &str) -> Option<String> {
        let Value::String(text) = self.require(name, what)? else {
            self.refuse(name, "must be a string");
            return None;
        };
        Some(text)
    }

    /// A text, if the field is there.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let Value::String(text) = self.take(name)? else {
            self.refuse(name, "must be a string");
            return None;
        };
        Some(text)
    }

    /// A switch; off where the field is absent.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        match self.take(name) {
            Some(Value::Bool(on)) => return on,
            Some(_) => self.refuse(name, "must be true or false"),
            None => {}
        }
        false
    }

    /// An object, if the field is there.
    pub(crate) fn object(&mut self, name: &str, message: &str) -> Option<Map<String, Value>> {
        let Value::Object(object) = self.take(name)? else {
            self.refuse(name, message);
            return None;
        };
        Some(object)
    }

    /// A list, if the field is there.
    pub(crate) fn list(&mut self, name: &str, message: &str) -> Option<Vec<Value>> {
        let Value::Array(items) = self.take(name)? else {
            self.refuse(name, message);
            return None;
        };
        Some(items)
    }

    /// A number within bounds, if the field is there.
    pub(crate) fn number(&mut self, name: &str, low: f64, high: f64) -> Option<f64> {
        let number = self.take(name)?.as_f64().filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.refuse(name, &format!("must be a number from {low} to {high}"));
        }
        number
    }
}

/// Adds them up to one more than are named, which says that there are more.
fn gather(problems: &mut Vec<FieldProblem>, found: impl IntoIterator<Item = FieldProblem>) {
    let room = (PROBLEMS_MAX + 1).saturating_sub(problems.len());
    problems.extend(found.into_iter().take(room));
}

pub(crate) fn problem(path: &str, message: &str) -> FieldProblem {
    FieldProblem { path: path.to_owned(), message: message.to_owned() }
}

/// JSON of the wrong shape, with every problem.
pub(crate) fn validation_failed(problems: Vec<FieldProblem>) -> RunError {
    faulty(ErrorCode::ValidationFailed, "request", problems)
}

/// A `what` with these problems.
pub(crate) fn faulty(code: ErrorCode, what: &str, mut problems: Vec<FieldProblem>) -> RunError {
    let more = if problems.len() > PROBLEMS_MAX { "; and more" } else { "" };
    problems.truncate(PROBLEMS_MAX);
    let named: Vec<_> = problems.iter().map(|problem| format!("`{}` {}", problem.path, problem.message)).collect();
    let message = format!("the {what} is not valid: {}{more}", named.join("; "));
    RunError { problems, ..RunError::new(code, message) }
}
