//! `agent-pod import`: the files of the original system in, manifests out.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_pod_import::{Imported, InputFile, Manifest, Report, import};
use anyhow::Context as _;

/// How deep folders are gone into: `agents/` and `rag/` are one deep, and some keep theirs in groups.
const DEPTH_MAX: usize = 4;

/// The most files that are read.
const FILES_MAX: usize = 1_000;

/// The largest file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Converts a folder; exit code 1 when a file could not be read.
pub(crate) fn run(dir: &Path, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(dir.is_dir(), "`{}` is not a folder; name the one that holds `agents/`", dir.display());
    let mut paths = Vec::new();
    find(dir, DEPTH_MAX, &mut paths)?;
    paths.sort();
    let unread = Report::default();
    let files: Vec<InputFile> = paths.iter().filter_map(|path| read(dir, path, &unread)).collect();
    let Imported { manifests, report } = import(&files);
    match out {
        Some(out) => write_files(out, &manifests)?,
        None => print(&manifests)?,
    }
    let mut said = unread.remarks();
    said.extend(report.remarks());
    let mut errors = std::io::stderr().lock();
    for remark in &said {
        writeln!(errors, "{remark}")?;
    }
    let problems = unread.problems() + report.problems();
    let of = |kind: &str| manifests.iter().filter(|manifest| manifest.kind() == kind).count();
    writeln!(
        errors,
        "Agents: {}, Providers: {}, Secrets: {}; remarks: {}, files or documents that could not be read: {problems}",
        of("Agent"),
        of("Provider"),
        of("Secret"),
        said.len() - problems
    )?;
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn find(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("failed to list `{}`", dir.display()))? {
        let entry = entry.with_context(|| format!("failed to list `{}`", dir.display()))?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            anyhow::ensure!(depth > 0, "`{}` is too deep; import its parts one by one", path.display());
            find(&path, depth - 1, found)?;
        } else if matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml")) {
            found.push(path);
            anyhow::ensure!(found.len() <= FILES_MAX, "more than {FILES_MAX} YAML files; import parts one by one");
        }
    }
    Ok(())
}

fn read(dir: &Path, path: &Path, report: &Report) -> Option<InputFile> {
    let name = path.strip_prefix(dir).unwrap_or(path).to_string_lossy().replace('\\', "/");
    let size = fs::metadata(path).map(|metadata| metadata.len()).unwrap_or_default();
    if size > FILE_BYTES_MAX {
        report.problem(&name, "", format!("is {size} bytes long; at most {FILE_BYTES_MAX} are read"));
        return None;
    }
    match fs::read_to_string(path) {
        Ok(text) => Some(InputFile { path: name, text }),
        Err(error) => {
            report.problem(&name, "", format!("cannot be read: {error}"));
            None
        }
    }
}

fn print(manifests: &[Manifest]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for manifest in manifests {
        writeln!(out, "---\n{}", yaml(manifest)?.trim_end())?;
    }
    Ok(())
}

fn write_files(out: &Path, manifests: &[Manifest]) -> anyhow::Result<()> {
    let targets: Vec<PathBuf> = manifests.iter().map(|manifest| out.join(manifest.file_name())).collect();
    if let Some(taken) = targets.iter().find(|target| fs::symlink_metadata(target).is_ok()) {
        anyhow::bail!(
            "`{}` exists already; remove it or name another --out folder (nothing was written)",
            taken.display()
        );
    }
    fs::create_dir_all(out).with_context(|| format!("failed to make the folder `{}`", out.display()))?;
    for (manifest, target) in manifests.iter().zip(&targets) {
        let text = yaml(manifest)?;
        fs::File::create_new(target)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("failed to write `{}`", target.display()))?;
    }
    Ok(())
}

fn yaml(manifest: &Manifest) -> anyhow::Result<String> {
    manifest.to_yaml().map_err(anyhow::Error::msg)
}
