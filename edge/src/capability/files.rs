//! The files of a component: folders of the application, shown read-only.
//!
//! A folder is shown as it is; single files, globs, and folders that `exclude_files` thins
//! out are copied into the state folder at each start. It does NOT know what a component
//! does with a file.

use crate::manifest::{Component, Files};
use std::path::{Path, PathBuf};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::FsPerms;

/// The most files that are copied for one component.
const FILES_MAX: usize = 10_000;

/// A host folder and the path at which the component sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
}

/// Lays out the files of `component`; what is not a whole folder is copied below `staging`.
pub(crate) fn mounts(
    component: &Component,
    folder: &Path,
    staging: &Path,
) -> Result<Vec<Mount>, String> {
    let folder = folder
        .canonicalize()
        .map_err(|error| format!("files: {}: {error}", folder.display()))?;
    let mut copies = Copies::new(component, folder, staging.join(&component.id))?;
    let mut mounts = Vec::new();
    for files in &component.files {
        match files {
            Files::Placed {
                source,
                destination,
            } => {
                let guest = Path::new(destination.trim_start_matches('/'));
                if source.is_file() {
                    copies.file(source, guest)?;
                } else if !source.is_dir() {
                    return Err(format!("files: {} is not there", source.display()));
                } else if component.exclude_files.is_empty() {
                    mounts.push(Mount {
                        host: source.clone(),
                        guest: destination.clone(),
                    });
                } else {
                    copies.folder(source, guest)?;
                }
            }
            Files::Glob(pattern) => copies.pattern(pattern)?,
        }
    }
    if copies.copied > 0 {
        mounts.push(Mount {
            host: copies.root,
            guest: "/".to_owned(),
        });
    }
    Ok(mounts)
}

/// The copies that one component sees below `/`.
struct Copies {
    /// The application's folder.
    folder: PathBuf,
    root: PathBuf,
    excluded: Vec<glob::Pattern>,
    copied: usize,
}

impl Copies {
    /// Begins with an empty folder: what an earlier start copied may be excluded by now.
    fn new(component: &Component, folder: PathBuf, root: PathBuf) -> Result<Self, String> {
        match std::fs::remove_dir_all(&root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("files: {}: {error}", root.display()));
            }
            _ => {}
        }
        let excluded: Result<Vec<_>, _> = component
            .exclude_files
            .iter()
            .map(|text| glob::Pattern::new(text).map_err(|e| format!("exclude_files: {e}")))
            .collect();
        Ok(Self {
            folder,
            root,
            excluded: excluded?,
            copied: 0,
        })
    }

    /// A file, a folder with all that is below it, or all files that match.
    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        let path = self.folder.join(pattern);
        if path.is_dir() {
            return self.folder(&path, Path::new(pattern));
        }
        if path.is_file() {
            return self.file(&path, Path::new(pattern));
        }
        if !pattern.contains(['*', '?', '[']) {
            return Err(format!(
                "files: {pattern:?} is not there, and it is no glob"
            ));
        }
        let (folder, below) = (self.folder.clone(), Path::new(""));
        self.matching(&folder, pattern, below)
    }

    fn folder(&mut self, source: &Path, guest: &Path) -> Result<(), String> {
        let source = source
            .canonicalize()
            .map_err(|error| format!("files: {}: {error}", source.display()))?;
        self.matching(&source, "**/*", guest)
    }

    /// Copies the files that match `pattern` below `base` to `guest`, as far as they are
    /// the application's own and not excluded.
    fn matching(&mut self, base: &Path, pattern: &str, guest: &Path) -> Result<(), String> {
        let whole = format!(
            "{}/{pattern}",
            glob::Pattern::escape(&base.to_string_lossy())
        );
        let found = glob::glob(&whole).map_err(|error| format!("files: {pattern:?}: {error}"))?;
        for path in found.filter_map(Result::ok).filter(|path| path.is_file()) {
            let own = path.strip_prefix(&self.folder);
            let (Ok(own), Ok(relative)) = (own, path.strip_prefix(base)) else {
                continue;
            };
            if !self
                .excluded
                .iter()
                .any(|pattern| pattern.matches_path(own))
            {
                self.file(&path, &guest.join(relative))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, guest: &Path) -> Result<(), String> {
        self.copied += 1;
        if self.copied > FILES_MAX {
            return Err(format!("files: more than {FILES_MAX} files are copied"));
        }
        copy(from, &self.root.join(guest))
    }
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
