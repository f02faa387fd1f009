//! The files that the rules look at: what git tracks, and what it would add.
//!
//! Text only: a file that is not UTF-8, or longer than `FILE_BYTES_MAX`, has an
//! empty text, so that rules about names still see it. Knows no rule.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// Larger files are data: weights, golden outputs.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path without its last part; empty for the root.
    pub(crate) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|e| e == extension)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Repository {
    /// In the order of their paths.
    pub(crate) files: Vec<File>,
}

impl Repository {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Repository> {
        let listing = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .context("git could not be started")?;
        ensure!(
            listing.status.success(),
            "git ls-files: {}",
            String::from_utf8_lossy(&listing.stderr).trim()
        );
        let paths: BTreeSet<&[u8]> = listing
            .stdout
            .split(|&b| b == 0)
            .filter(|p| !p.is_empty())
            .collect();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let path = std::str::from_utf8(path).context("a path that is not UTF-8")?;
            let full = root.join(path);
            // A tracked file that was deleted in the working tree, or a link.
            let Ok(metadata) = full.symlink_metadata() else {
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            let text = if metadata.len() > FILE_BYTES_MAX {
                String::new()
            } else {
                let bytes = std::fs::read(&full).with_context(|| path.to_owned())?;
                String::from_utf8(bytes).unwrap_or_default()
            };
            files.push(File {
                path: path.to_owned(),
                text,
            });
        }
        Ok(Repository { files })
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        let at = self
            .files
            .binary_search_by(|f| f.path.as_str().cmp(path))
            .ok()?;
        self.files.get(at)
    }

    /// Whether any file lies at this path or below it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.files
            .iter()
            .any(|f| f.path == path || f.path.starts_with(&below))
    }

    pub(crate) fn with_extension<'a>(
        &'a self,
        extension: &'a str,
    ) -> impl Iterator<Item = &'a File> {
        self.files
            .iter()
            .filter(move |f| f.has_extension(extension))
    }

    /// A repository of a test: paths and texts.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Repository {
        let mut files: Vec<File> = files
            .iter()
            .map(|(path, text)| File {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Repository { files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_repository_and_leaves_out_what_git_ignores() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let repository = Repository::read(&root).unwrap();
        let own = repository.file("tests/tidy/src/repository.rs").unwrap();
        assert!(own.text.starts_with("//!"));
        assert!(repository.has("tests/tidy"));
        assert!(!repository.has("target"));
        assert!(repository.files.is_sorted_by(|a, b| a.path < b.path));
    }

    #[test]
    fn a_folder_that_is_no_repository_is_an_error() {
        let error = Repository::read(Path::new("/proc")).unwrap_err();
        assert!(error.to_string().contains("git ls-files"), "{error}");
    }

    #[test]
    fn paths_have_names_and_folders() {
        let repository = Repository::of(&[("a/b/c.rs", ""), ("top.md", "")]);
        let [deep, top] = repository.files.as_slice() else {
            panic!("two files")
        };
        assert_eq!((deep.folder(), deep.name()), ("a/b", "c.rs"));
        assert_eq!((top.folder(), top.name()), ("", "top.md"));
        assert!(repository.has("a/b") && !repository.has("a/bc"));
    }
}
