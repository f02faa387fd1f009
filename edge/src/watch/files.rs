//! Which files matter to an application, and what a change to one of them asks for.
//!
//! It does NOT watch or build.

use crate::manifest::{Files, Manifest};
use glob::{MatchOptions, Pattern};
use notify::RecursiveMode;
use notify::event::{Event, EventKind};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// What changed, in the order of what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// What is served: a new start is enough.
    Artifact,
    /// What it is built from, or the manifest.
    Source,
}

/// The files of one application, by pattern.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    patterns: Vec<(Pattern, Change)>,
    folders: BTreeMap<PathBuf, RecursiveMode>,
}

/// A star stands for a part of a name, as it does in a shell.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

impl Watched {
    /// `file` is where `manifest` was read from; it stands as the system names it.
    pub(super) fn of(manifest: &Manifest, file: &Path, skip_build: bool) -> Result<Self, String> {
        let mut watched = Self {
            patterns: Vec::new(),
            folders: BTreeMap::new(),
        };
        let home = file.parent().unwrap_or(Path::new("/"));
        let manifest_asks = match skip_build {
            true => Change::Artifact,
            false => Change::Source,
        };
        watched.add_file(file, manifest_asks)?;
        for component in manifest.components.values() {
            if let Some(build) = component.build.as_ref().filter(|_| !skip_build) {
                let folder = build.workdir.as_deref().unwrap_or(home);
                for glob in &build.watch {
                    watched.add_glob(&plain(&home.join(folder)), glob, Change::Source)?;
                }
            }
            watched.add_file(&home.join(&component.source), Change::Artifact)?;
            let dependencies = component.dependencies.iter().map(|d| &d.source);
            for source in dependencies.chain(component.middleware.iter().map(|m| &m.source)) {
                watched.add_file(&home.join(source), Change::Artifact)?;
            }
            for files in &component.files {
                match files {
                    Files::Glob(glob) => watched.add_glob(home, glob, Change::Artifact)?,
                    Files::Placed { source, .. } => {
                        let source = plain(&home.join(source));
                        match source.is_file() {
                            true => watched.add_file(&source, Change::Artifact)?,
                            false => watched.add_glob(&source, "**/*", Change::Artifact)?,
                        }
                    }
                }
            }
        }
        Ok(watched)
    }

    fn add_file(&mut self, file: &Path, asks: Change) -> Result<(), String> {
        let file = plain(file);
        let pattern = Pattern::new(&Pattern::escape(&file.to_string_lossy()))
            .map_err(|error| error.to_string())?;
        self.patterns.push((pattern, asks));
        if let Some(folder) = file.parent() {
            self.look_at(folder, RecursiveMode::NonRecursive, asks)?;
        }
        Ok(())
    }

    fn add_glob(&mut self, folder: &Path, glob: &str, asks: Change) -> Result<(), String> {
        let whole = plain(&folder.join(glob));
        // What comes before the first star is a folder that can be looked at.
        let is_plain =
            |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
        let fixed: PathBuf = whole.components().take_while(is_plain).collect();
        let rest: PathBuf = whole.components().skip_while(is_plain).collect();
        if rest.as_os_str().is_empty() {
            return self.add_file(&fixed, asks);
        }
        let text = format!(
            "{}/{}",
            Pattern::escape(&fixed.to_string_lossy()),
            rest.display()
        );
        let pattern = Pattern::new(&text).map_err(|error| format!("{glob:?}: {error}"))?;
        self.patterns.push((pattern, asks));
        let mode = match rest.components().count() {
            1 => RecursiveMode::NonRecursive,
            _ => RecursiveMode::Recursive,
        };
        self.look_at(&fixed, mode, asks)
    }

    /// Looks at `folder`; where it is not there, at the nearest one above it, to see it made.
    fn look_at(&mut self, folder: &Path, mode: RecursiveMode, asks: Change) -> Result<(), String> {
        let mut missing = None;
        let mut there = folder;
        while !there.is_dir() {
            missing = Some(there);
            let Some(above) = there.parent() else {
                return Ok(());
            };
            there = above;
        }
        let mode = match missing {
            None => mode,
            Some(made) => {
                let pattern = Pattern::new(&Pattern::escape(&made.to_string_lossy()))
                    .map_err(|error| error.to_string())?;
                self.patterns.push((pattern, asks));
                RecursiveMode::NonRecursive
            }
        };
        let known = self.folders.entry(there.to_owned()).or_insert(mode);
        if mode == RecursiveMode::Recursive {
            *known = mode;
        }
        Ok(())
    }

    /// The folders to look at.
    pub(super) fn folders(&self) -> impl Iterator<Item = (PathBuf, RecursiveMode)> {
        self.folders
            .iter()
            .map(|(folder, mode)| (folder.clone(), *mode))
    }

    /// What an event asks for.
    pub(super) fn change(&self, event: &Event) -> Option<Change> {
        match event.kind {
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => {}
            _ => return None,
        }
        event.paths.iter().filter_map(|path| self.asks(path)).max()
    }

    fn asks(&self, path: &Path) -> Option<Change> {
        // Vim's swap files come and go with every edit.
        if path.extension().is_some_and(|extension| extension == "swp") {
            return None;
        }
        let matching = |(pattern, _): &&(Pattern, Change)| pattern.matches_path_with(path, OPTIONS);
        self.patterns
            .iter()
            .filter(matching)
            .map(|(_, asks)| *asks)
            .max()
    }
}

/// A path without `.` and `..`. The folder of the manifest has no links in it.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_asks_for_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        for made in ["one/src", "static"] {
            std::fs::create_dir_all(home.join(made)).unwrap();
        }
        let text = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\n\
             route = \"/...\"\ncomponent = \"one\"\n[component.one]\nsource = \"out/one.wasm\"\n\
             files = [\"pages/*.html\", { source = \"static\", destination = \"/\" }]\n\
             build = { command = \"true\", workdir = \"one\", \
             watch = [\"src/**/*.rs\", \"../shared.txt\"] }\n";
        let manifest = Manifest::parse(text, &home, None).unwrap();
        let file = home.join("spin.toml");
        let check = |skip_build: bool, path: &str, expect: Option<Change>| {
            let watched = Watched::of(&manifest, &file, skip_build).unwrap();
            assert_eq!(watched.asks(&home.join(path)), expect, "{path}");
        };
        check(false, "spin.toml", Some(Change::Source));
        check(true, "spin.toml", Some(Change::Artifact));
        check(false, "one/src/lib.rs", Some(Change::Source));
        check(false, "one/src/deep/down/lib.rs", Some(Change::Source));
        check(true, "one/src/lib.rs", None);
        check(false, "one/src/lib.rs.swp", None);
        check(false, "one/lib.rs", None);
        check(false, "shared.txt", Some(Change::Source));
        check(false, "out/one.wasm", Some(Change::Artifact));
        check(false, "pages/index.html", Some(Change::Artifact));
        check(false, "pages/deep/index.html", None);
        check(false, "static/deep/style.css", Some(Change::Artifact));
        check(false, "pages", Some(Change::Artifact));
        check(false, "target/release/x", None);
        let watched = Watched::of(&manifest, &file, false).unwrap();
        let folders: Vec<_> = watched.folders().collect();
        // `out` and `pages` are not there yet; the folder above them is.
        assert_eq!(
            folders,
            [
                (home.clone(), RecursiveMode::NonRecursive),
                (home.join("one/src"), RecursiveMode::Recursive),
                (home.join("static"), RecursiveMode::Recursive),
            ]
        );
    }
}
