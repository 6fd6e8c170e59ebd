//! The layers of the drawing in docs/ARCHITECTURE.md, held against what Cargo says.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Who may depend on whom among our own crates.
const EDGES: [(&str, &[&str]); 12] = [
    ("astromesh-crds", &[]),
    ("astromesh-egress", &[]),
    ("agent-pod-config", &["astromesh-crds"]),
    ("agent-pod-core", &[]),
    ("agent-pod-import", &["agent-pod-config", "agent-pod-core", "astromesh-crds"]),
    ("agent-pod-infra", &["agent-pod-core", "astromesh-egress"]),
    ("agent-pod-runtime", &["agent-pod-config", "agent-pod-core", "agent-pod-infra", "astromesh-crds"]),
    ("agent-pod-api", &["agent-pod-core"]),
    ("agent-pod", &["agent-pod-api", "agent-pod-import", "agent-pod-runtime"]),
    ("astromesh-operator", &["agent-pod-config", "astromesh-crds", "astromesh-egress"]),
    ("astromesh-e2e", &["astromesh-crds"]),
    ("astromesh-bench", &[]),
];

/// Crates that do I/O or speak a protocol: none of them in the core or the document.
const IO: [&str; 16] = [
    "axum",
    "hyper",
    "hyper-util",
    "reqwest",
    "tower",
    "tower-http",
    "sqlx",
    "redis",
    "kube-client",
    "kube-runtime",
    "notify",
    "ort",
    "usearch",
    "qdrant-client",
    "serde-saphyr",
    "rustls",
];

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    metadata
        .packages
        .iter()
        .map(|package| {
            let dependencies = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
            (package.name.to_string(), dependencies.map(|d| d.name.clone()).collect())
        })
        .collect()
}

#[test]
fn our_crates_depend_on_each_other_as_drawn() {
    let found = normal_dependencies();
    let ours: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), ours, "a crate is missing from the table");
    for (name, allowed) in EDGES {
        let actual: BTreeSet<&str> = found[name].iter().map(String::as_str).filter(|d| ours.contains(d)).collect();
        assert_eq!(actual, allowed.iter().copied().collect(), "{name}");
    }
}

#[test]
fn core_and_document_do_no_io() {
    let found = normal_dependencies();
    for name in ["agent-pod-core", "agent-pod-config", "astromesh-egress"] {
        let io: Vec<_> = found[name].iter().filter(|d| IO.contains(&d.as_str())).collect();
        assert!(io.is_empty(), "{name} lists {io:?}");
    }
}

#[test]
fn the_doors_know_no_adapter() {
    let found = normal_dependencies();
    let known: Vec<_> = ["reqwest", "serde-saphyr", "kube", "jsonwebtoken"]
        .into_iter()
        .filter(|d| found["agent-pod-api"].contains(*d))
        .collect();
    assert!(known.is_empty(), "agent-pod-api lists {known:?}");
}
