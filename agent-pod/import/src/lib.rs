//! From a folder of the original system to manifests of ours, and a report of what stays behind.
//!
//! ```text
//!  files ─► read ─► agent, provider, other ─► resources ─► settle ─► manifests
//!             └───────────┴──────────────────────┴───────────┴────► report
//! ```
//!
//! **Invariants**
//! - Pure: texts in, manifests and a report out. Equal input gives equal output.
//! - Nothing is dropped in silence: a [`section::Section`] reports every field that nobody took out of it.
//! - What comes out passes `astromesh_crds::manifest::check`, compiles, and has prompts that compile. Whatever this
//!   release's schema refuses is taken out by [`settle`] and reported, so that a field which a later release knows is
//!   carried over by it without a change here.
//! - No value of a credential is in a manifest or in the report.

mod agent;
mod manifest;
mod names;
mod other;
mod provider;
mod read;
mod report;
mod resources;
mod section;
mod settle;

pub use manifest::Manifest;
pub use report::{Remark, Report, Severity};

use read::Kind;
use resources::Resources;

/// A file of the original system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Its path below the folder, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What came of a folder.
#[derive(Debug)]
pub struct Imported {
    /// Secrets, Providers and Agents, in this order and by name.
    pub manifests: Vec<Manifest>,
    /// What was not carried over, and why.
    pub report: Report,
}

/// Converts the files of the original system.
#[must_use]
pub fn import(files: &[InputFile]) -> Imported {
    let report = Report::default();
    let mut sorted: Vec<&InputFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let documents: Vec<_> = sorted.into_iter().flat_map(|file| read::documents(file, &report)).collect();
    let of = |kind: Kind| documents.iter().filter(move |document| document.kind == kind);

    let mut resources = Resources::default();
    for document in of(Kind::Providers) {
        provider::define(document, &report, &mut resources);
    }
    resources.agents = agent::names(of(Kind::Agent), &report);
    for (index, document) in of(Kind::Agent).enumerate() {
        agent::convert(document, index, &report, &mut resources);
    }
    resources.add_unused_providers();
    for document in &documents {
        other::report(document, &report);
    }
    let manifests = settle::settle(resources.into_manifests(), &report);
    Imported { manifests, report: report.sorted() }
}
