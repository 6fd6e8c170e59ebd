//! Writes the generated definitions: `cargo run -p astromesh-crds --bin crdgen [DIR]`.

use std::{env, fs, path::PathBuf};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let default = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/yaml"));
    let dir = env::args_os().nth(1).map_or(default, PathBuf::from);
    for (file, text) in astromesh_crds::manifest::definitions()? {
        let path = dir.join(file);
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(())
}
