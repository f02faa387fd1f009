//! What every crate and component has: a README, and the workspace's lints. And
//! what only one file may have: the name of a device.
//!
//! A crate outside the workspace (one that stands in for another, or a test's own) has
//! a README that says why. Reads Cargo manifests as TOML; does not ask cargo.

use std::collections::BTreeSet;

use crate::problem::Problem;
use crate::repository::{File, Repository};

/// Lines of a README that says something.
const README_LINES_MIN: usize = 5;

/// A pattern, the one file that may have it, and the folder that this speaks of.
const CONFINED: [(&str, &str, &str); 3] = [
    (
        "feature = \"cuda\"",
        "gpu-backend/src/backend/device.rs",
        "gpu-backend/",
    ),
    (
        "feature = \"vulkan\"",
        "gpu-backend/src/backend/device.rs",
        "gpu-backend/",
    ),
    (
        "feature = \"cube\"",
        "gpu-backend/src/backend.rs",
        "gpu-backend/",
    ),
];

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let members = members(repository);
    let mut problems = Vec::new();
    for manifest in repository.files.iter().filter(|f| f.name() == "Cargo.toml") {
        match manifest.text.parse::<toml::Table>() {
            Ok(table) if table.contains_key("package") => {
                let is_member = members.contains(manifest.folder());
                problems.extend(lints(manifest, &table).filter(|_| is_member));
                let lines_min = if is_member { README_LINES_MIN } else { 1 };
                problems.extend(readme(repository, manifest, lines_min));
            }
            Ok(_) => {}
            Err(error) => problems.push(Problem::of(&manifest.path, error.to_string())),
        }
    }
    problems
}

/// The folders of the workspace's crates, its root included.
fn members(repository: &Repository) -> BTreeSet<String> {
    let root = repository
        .file("Cargo.toml")
        .and_then(|f| f.text.parse::<toml::Table>().ok());
    let listed = root
        .as_ref()
        .and_then(|table| table.get("workspace")?.get("members")?.as_array());
    let folders = listed.into_iter().flatten().filter_map(toml::Value::as_str);
    folders.chain([""]).map(str::to_owned).collect()
}

fn lints(manifest: &File, table: &toml::Table) -> Option<Problem> {
    let inherits = table
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool)
        .unwrap_or(false);
    (!inherits).then(|| {
        Problem::of(
            &manifest.path,
            "does not inherit the lints; add `[lints]` `workspace = true`",
        )
    })
}

fn readme(repository: &Repository, manifest: &File, lines_min: usize) -> Option<Problem> {
    let path = match manifest.folder() {
        "" => "README.md".to_owned(),
        folder => format!("{folder}/README.md"),
    };
    let Some(readme) = repository.file(&path) else {
        return Some(Problem::of(
            &path,
            "is missing: what it decides, reads, writes, refuses with, and its variables",
        ));
    };
    let lines = readme.text.lines().filter(|l| !l.trim().is_empty()).count();
    (lines < lines_min).then(|| {
        Problem::of(
            &path,
            format!("says too little: {lines_min} lines at least"),
        )
    })
}

/// `cfg(feature = "cuda")` stands in one file, so that the rest has no device.
pub(super) fn confined(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (pattern, home, folder) in CONFINED {
        let strays = repository
            .with_extension("rs")
            .filter(|f| f.path.starts_with(folder) && f.path.contains("/src/") && f.path != home);
        for file in strays {
            for (at, _) in file
                .text
                .lines()
                .enumerate()
                .filter(|(_, l)| l.contains(pattern))
            {
                problems.push(Problem::at(
                    &file.path,
                    at + 1,
                    format!("`{pattern}` may stand in {home} only"),
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::lines_of;
    use super::*;

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n");
    const MANIFEST: &str = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n";
    const README: &str = "# a\n\nDecides.\nReads.\nWrites.\nRefuses.\n";

    fn check_crate(manifest: &str, readme: &str, expect: &[&str]) {
        let files = [ROOT, ("a/Cargo.toml", manifest), ("a/README.md", readme)];
        let lines = lines_of(check, &files);
        assert_eq!(lines.len(), expect.len(), "{lines:?}");
        for (line, part) in lines.iter().zip(expect) {
            assert!(line.contains(part), "{line:?} has no {part:?}");
        }
    }

    #[test]
    fn a_crate_with_a_readme_and_the_lints_is_fine() {
        check_crate(MANIFEST, README, &[]);
    }

    #[test]
    fn a_missing_or_empty_readme_is_told() {
        let lines = lines_of(check, &[ROOT, ("a/Cargo.toml", MANIFEST)]);
        assert!(
            lines.len() == 1 && lines[0].starts_with("a/README.md: is missing"),
            "{lines:?}"
        );
        check_crate(MANIFEST, "# a\n", &["too little"]);
    }

    #[test]
    fn lints_that_are_not_inherited_are_told() {
        check_crate("[package]\nname = \"a\"\n", README, &["lints"]);
        check_crate(
            "[package]\n[lints]\nworkspace = false\n",
            README,
            &["lints"],
        );
    }

    #[test]
    fn a_broken_manifest_is_told() {
        check_crate("[package\n", README, &["TOML"]);
    }

    #[test]
    fn a_crate_outside_the_workspace_has_at_least_a_readme() {
        let manifest = ("b/Cargo.toml", "[package]\nname = \"b\"\n");
        assert_eq!(
            lines_of(check, &[ROOT, manifest, ("b/README.md", "Stands in.\n")]).len(),
            0
        );
        assert_eq!(lines_of(check, &[ROOT, manifest]).len(), 1);
    }

    #[test]
    fn the_device_is_named_in_one_file() {
        let text = "#[cfg(feature = \"cuda\")]\n";
        assert_eq!(
            lines_of(confined, &[("gpu-backend/src/backend/device.rs", text)]).len(),
            0
        );
        assert_eq!(
            lines_of(confined, &[("gpu-backend/src/model.rs", text)]),
            [
                "gpu-backend/src/model.rs:1: `feature = \"cuda\"` may stand in \
              gpu-backend/src/backend/device.rs only"
            ]
        );
    }
}
