//! The files of a component: folders of the application, shown read-only.
//!
//! Globs are copied into the state folder once at start, since a component sees folders
//! only. It does NOT know what a component does with a file.

use crate::manifest::{Component, Files};
use std::path::{Path, PathBuf};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::FsPerms;

/// The most files that one component's globs may match.
const GLOB_FILES_MAX: usize = 10_000;

/// A host folder and the path at which the component sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    host: PathBuf,
    guest: String,
}

/// Lays out the files of `component`; globs are copied below `staging`.
pub(crate) fn mounts(
    component: &Component,
    folder: &Path,
    staging: &Path,
) -> Result<Vec<Mount>, String> {
    let folder = &folder
        .canonicalize()
        .map_err(|error| format!("files: {}: {error}", folder.display()))?;
    let mut mounts = Vec::new();
    let mut copied = 0;
    let root = staging.join(&component.id);
    for files in &component.files {
        match files {
            Files::Placed {
                source,
                destination,
            } => {
                if source.is_dir() {
                    mounts.push(Mount {
                        host: source.clone(),
                        guest: destination.clone(),
                    });
                } else if source.is_file() {
                    copy(source, &root.join(destination.trim_start_matches('/')))?;
                    copied += 1;
                } else {
                    return Err(format!("files: {} is not there", source.display()));
                }
            }
            Files::Glob(pattern) => {
                copied += copy_glob(pattern, &component.exclude_files, folder, &root)?;
                if copied > GLOB_FILES_MAX {
                    return Err(format!("files: more than {GLOB_FILES_MAX} files match"));
                }
            }
        }
    }
    if copied > 0 {
        mounts.push(Mount {
            host: root,
            guest: "/".to_owned(),
        });
    }
    Ok(mounts)
}

fn copy_glob(
    pattern: &str,
    excluded: &[String],
    folder: &Path,
    root: &Path,
) -> Result<usize, String> {
    let excluded: Vec<glob::Pattern> = excluded
        .iter()
        .filter_map(|text| glob::Pattern::new(text).ok())
        .collect();
    let whole = format!(
        "{}/{pattern}",
        glob::Pattern::escape(&folder.to_string_lossy())
    );
    let found = glob::glob(&whole).map_err(|error| format!("files: {pattern:?}: {error}"))?;
    let mut copied = 0;
    for path in found
        .take(GLOB_FILES_MAX + 1)
        .filter_map(Result::ok)
        .filter(|path| path.is_file())
    {
        let Ok(relative) = path.strip_prefix(folder) else {
            continue;
        };
        if !excluded
            .iter()
            .any(|pattern| pattern.matches_path(relative))
        {
            copy(&path, &root.join(relative))?;
            copied += 1;
        }
    }
    Ok(copied)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let copied = to.parent().map_or(Ok(()), std::fs::create_dir_all);
    copied
        .and_then(|()| std::fs::copy(from, to).map(|_| ()))
        .map_err(|error| format!("files: {}: {error}", from.display()))
}

/// Shows `mounts` to the component, read-only.
pub(crate) fn preopen(builder: &mut WasiCtxBuilder, mounts: &[Mount]) -> wasmtime::Result<()> {
    for mount in mounts {
        builder.preopened_dir(&mount.host, &mount.guest, FsPerms::ReadOnly)?;
    }
    Ok(())
}
