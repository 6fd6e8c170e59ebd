//! What is wrong with a manifest, and its two forms: for people at a file, and for the pod's state.

use std::fmt;

use agent_pod_config::RejectedProblem;

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
