//! What is wrong with a manifest, and its two forms: for people at a file, and for the pod's state.

use std::fmt;

use agent_pod_config::RejectedProblem;
use astromesh_crds::manifest::excerpt;

/// The longest path and message. Both quote only a part of what others have written: most are far shorter.
const CHARS_MAX: usize = 1_000;

/// The most problems of one file.
const FILE_PROBLEMS_MAX: usize = 100;

/// The most problems of all files.
const ALL_PROBLEMS_MAX: usize = 1_000;

/// What is wrong, up to a bound; of the rest, how much there is. A file of a megabyte may hold a hundred thousand mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<ManifestProblem>,
    most: usize,
    more: usize,
}

impl Default for Problems {
    /// For those of one file.
    fn default() -> Self {
        Self { kept: Vec::new(), most: FILE_PROBLEMS_MAX, more: 0 }
    }
}

impl Problems {
    /// For those of all files.
    pub(crate) fn of_all() -> Self {
        Self { most: ALL_PROBLEMS_MAX, ..Self::default() }
    }

    /// Adds one, or counts it.
    pub(crate) fn push(&mut self, problem: ManifestProblem) {
        if self.kept.len() < self.most {
            self.kept.push(problem.shortened());
        } else {
            self.more += 1;
        }
    }

    /// Adds those of others, the ones included that they have only counted.
    pub(crate) fn add(&mut self, others: &Self) {
        others.kept.iter().for_each(|problem| self.push(problem.clone()));
        self.count(others.more);
    }

    /// Counts some that are not shown.
    pub(crate) fn count(&mut self, more: usize) {
        self.more += more;
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.more == 0
    }

    /// Those that are kept.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ManifestProblem> {
        self.kept.iter()
    }

    /// The first of them, sorted. Where there are others, the last one says at `place` how many.
    #[must_use]
    pub fn first(self, most: usize, place: &str) -> Vec<ManifestProblem> {
        let Self { kept: mut all, most: _, more } = self;
        all.sort();
        let more = more + all.len().saturating_sub(most);
        all.truncate(most);
        if more > 0 {
            all.push(ManifestProblem::of_file(place, format!("{more} more problems are left out of this list")));
        }
        all
    }
}

impl Extend<ManifestProblem> for Problems {
    fn extend<I: IntoIterator<Item = ManifestProblem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestProblem {
    /// The file, or the files where two are at odds.
    pub file: String,
    /// Kind of the object; empty where the file itself is at fault.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Path of the field from the object's root, for example `spec.prompts.system`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ManifestProblem {
    /// A problem of the file as a whole.
    #[must_use]
    pub fn of_file(file: &str, message: String) -> Self {
        Self { file: file.to_owned(), kind: String::new(), name: String::new(), path: String::new(), message }
    }

    fn shortened(self) -> Self {
        let Self { file, kind, name, path, message } = self;
        let file = short(file);
        Self { file, kind: excerpt(kind), name: excerpt(name), path: short(path), message: short(message) }
    }

    /// As `/internal/state` reports it: the path as in the document, `agents.support.prompts.system`.
    #[must_use]
    pub fn rejected(&self) -> RejectedProblem {
        let field = self.path.strip_prefix("spec.").unwrap_or(&self.path);
        let root = match self.kind.as_str() {
            "" => String::new(),
            "Agent" => format!("agents.{}", self.name),
            "Provider" => format!("providers.{}", self.name),
            other => format!("{other}/{}", self.name),
        };
        let path = [root.as_str(), field].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        RejectedProblem { file: Some(self.file.clone()), path, message: self.message.clone() }
    }
}

fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if !self.kind.is_empty() {
            write!(f, "{}/{}: ", self.kind, self.name)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(index: usize) -> ManifestProblem {
        ManifestProblem::of_file(&format!("{index:06}.yaml"), "x".repeat(5_000))
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted() {
        let mut file = Problems::default();
        file.extend((0..150).rev().map(problem));
        let mut all = Problems::of_all();
        (0..12).for_each(|_| all.add(&file));
        let shown = all.first(200, "folder");
        assert_eq!(shown.len(), 201);
        assert_eq!(shown[0].file, "000050.yaml");
        assert_eq!(shown[200].to_string(), "folder: 1600 more problems are left out of this list");
    }

    #[test]
    fn what_is_within_the_bound_is_shown_as_it_is() {
        let mut all = Problems::default();
        assert!(all.is_empty());
        all.extend([problem(2), problem(1)]);
        let shown = all.first(2, "folder");
        assert_eq!(
            shown.iter().map(|problem| problem.file.as_str()).collect::<Vec<_>>(),
            ["000001.yaml", "000002.yaml"]
        );
        assert_eq!(shown[0].message.chars().count(), 1_001);
    }
}
