//! Problems up to a bound: a few megabytes of manifests may have a million.

use super::Problem;

/// The first problems that are found, and how many more there are.
#[derive(Debug)]
pub(super) struct Problems {
    found: Vec<Problem>,
    most: usize,
    more: usize,
}

impl Problems {
    pub(super) fn at_most(most: usize) -> Self {
        Self { found: Vec::new(), most, more: 0 }
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if self.found.len() < self.most {
            self.found.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn add(&mut self, others: Self) {
        self.extend(others.found);
        self.more += others.more;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Each once and in order, and how many more there are.
    pub(super) fn sorted(self) -> (Vec<Problem>, usize) {
        let Self { mut found, most: _, more } = self;
        found.sort();
        found.dedup();
        (found, more)
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}
