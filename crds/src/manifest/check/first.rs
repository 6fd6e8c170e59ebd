//! The first problems of an object: a file of a megabyte may have a hundred thousand.

use std::collections::BTreeSet;

use super::Problem;

/// The most problems of one object.
const PROBLEMS_MAX: usize = 20;

/// The first problems by path, whatever order they are found in, and how many more there are.
#[derive(Default)]
pub(super) struct First {
    problems: BTreeSet<Problem>,
    more: usize,
}

impl First {
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.insert(problem);
        if self.problems.len() > PROBLEMS_MAX {
            self.problems.pop_last();
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// In order of their paths. Last comes one for those that are left out.
    pub(super) fn into_vec(self) -> Vec<Problem> {
        let message = format!("and {} more problems of this object", self.more);
        let rest = (self.more > 0).then(|| Problem { path: String::new(), message });
        self.problems.into_iter().chain(rest).collect()
    }
}
