//! Writes the generated definitions: `cargo run -p astromesh-crds --bin crdgen`.
//!
//! They stand twice: in `crds/yaml` for `kubectl apply`, and in the chart, because a chart holds its files itself.

use std::{fs, path::Path};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, text) in astromesh_crds::manifest::definitions()? {
        for folder in astromesh_crds::manifest::FOLDERS {
            let path = crate_root.join(folder).join(&file);
            fs::write(&path, &text).with_context(|| format!("failed to write `{}`", path.display()))?;
        }
    }
    Ok(())
}
