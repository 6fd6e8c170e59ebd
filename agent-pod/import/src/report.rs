//! What was not carried over, and why.

use std::cell::RefCell;
use std::fmt;

/// How grave a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file could not be read: nothing of it was converted.
    Problem,
    /// Something was changed or left out.
    Remark,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The file of the original system.
    pub file: String,
    /// Path of the field; empty for the file as a whole.
    pub path: String,
    /// What happened, why, and what can be done.
    pub message: String,
    /// How grave it is.
    pub severity: Severity,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// The longest path and message: a name in it may be as long as a file.
const CHARS_MAX: usize = 500;

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Everything that was said of the files. Sections add to it when they end, so it is shared while files are read.
#[derive(Debug, Default)]
pub struct Report {
    remarks: RefCell<Vec<Remark>>,
}

impl Report {
    /// All remarks, by file and path.
    #[must_use]
    pub fn remarks(&self) -> Vec<Remark> {
        self.remarks.borrow().clone()
    }

    /// How much has been said.
    pub(crate) fn len(&self) -> usize {
        self.remarks.borrow().len()
    }

    /// How many files could not be read.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.remarks.borrow().iter().filter(|remark| remark.severity == Severity::Problem).count()
    }

    /// Adds something that was changed or left out.
    pub fn remark(&self, file: &str, path: &str, message: impl Into<String>) {
        self.add(Severity::Remark, file, path, message.into());
    }

    /// Adds a file that could not be read.
    pub fn problem(&self, file: &str, path: &str, message: impl Into<String>) {
        self.add(Severity::Problem, file, path, message.into());
    }

    fn add(&self, severity: Severity, file: &str, path: &str, message: String) {
        let remark = Remark { file: file.to_owned(), path: short(path), message: short(&message), severity };
        self.remarks.borrow_mut().push(remark);
    }

    pub(crate) fn sorted(self) -> Self {
        let mut remarks = self.remarks.into_inner();
        remarks.sort();
        remarks.dedup();
        Self { remarks: RefCell::new(remarks) }
    }
}
