//! The committed definitions are those of the types, in `yaml/` and in the chart.

use std::{fs, path::Path};

/// Rewrites stale files, so that running the test mends them, and fails, so that nobody forgets to commit.
#[test]
fn the_committed_yaml_is_what_the_types_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stale = Vec::new();
    for (file, text) in astromesh_crds::manifest::definitions().unwrap() {
        for folder in astromesh_crds::manifest::FOLDERS {
            let path = root.join(folder).join(&file);
            if fs::read_to_string(&path).unwrap_or_default() != text {
                fs::write(&path, &text).unwrap();
                stale.push(path);
            }
        }
    }
    assert!(stale.is_empty(), "rewritten, commit them: {stale:?}");
}

#[test]
fn generation_is_deterministic() {
    let once = astromesh_crds::manifest::definitions().unwrap();
    assert_eq!(once, astromesh_crds::manifest::definitions().unwrap());
}
