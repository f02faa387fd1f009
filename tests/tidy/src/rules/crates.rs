//! What every crate and component has: a README, and the workspace's lints. And
//! what only one file may have: the name of a device.
//!
//! Reads Cargo manifests as TOML; does not ask cargo.

use crate::problem::Problem;
use crate::repository::{File, Repository};

/// Lines of a README that says something.
const README_LINES_MIN: usize = 5;

/// A pattern, the one file that may have it, and the folder that this speaks of.
const CONFINED: [(&str, &str, &str); 1] = [(
    "feature = \"cuda\"",
    "gpu-backend/src/backend.rs",
    "gpu-backend/",
)];

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in repository.files.iter().filter(|f| f.name() == "Cargo.toml") {
        match manifest.text.parse::<toml::Table>() {
            Ok(table) if table.contains_key("package") => {
                problems.extend(lints(manifest, &table));
                problems.extend(readme(repository, manifest));
            }
            Ok(_) => {}
            Err(error) => problems.push(Problem::of(&manifest.path, error.to_string())),
        }
    }
    problems
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

fn readme(repository: &Repository, manifest: &File) -> Option<Problem> {
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
    (lines < README_LINES_MIN).then(|| Problem::of(&path, "says too little: five lines at least"))
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

    const MANIFEST: &str = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n";
    const README: &str = "# a\n\nDecides.\nReads.\nWrites.\nRefuses.\n";

    #[test]
    fn a_crate_with_a_readme_and_the_lints_is_fine() {
        let files = [("a/Cargo.toml", MANIFEST), ("a/README.md", README)];
        assert_eq!(lines_of(check, &files), Vec::<String>::new());
    }

    #[test]
    fn the_workspace_itself_is_no_crate() {
        assert_eq!(
            lines_of(check, &[("Cargo.toml", "[workspace]\n")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_missing_or_empty_readme_is_told() {
        let lines = lines_of(check, &[("a/Cargo.toml", MANIFEST)]);
        assert!(
            lines.len() == 1 && lines[0].starts_with("a/README.md: is missing"),
            "{lines:?}"
        );
        let lines = lines_of(
            check,
            &[("a/Cargo.toml", MANIFEST), ("a/README.md", "# a\n")],
        );
        assert!(
            lines.len() == 1 && lines[0].contains("too little"),
            "{lines:?}"
        );
    }

    #[test]
    fn lints_that_are_not_inherited_are_told() {
        for text in [
            "[package]\nname = \"a\"\n",
            "[package]\n[lints]\nworkspace = false\n",
        ] {
            let lines = lines_of(check, &[("a/Cargo.toml", text), ("a/README.md", README)]);
            assert!(lines.len() == 1 && lines[0].contains("lints"), "{lines:?}");
        }
    }

    #[test]
    fn a_broken_manifest_is_told() {
        assert_eq!(lines_of(check, &[("a/Cargo.toml", "[package\n")]).len(), 1);
    }

    #[test]
    fn the_device_is_named_in_one_file() {
        let text = "#[cfg(feature = \"cuda\")]\n";
        assert_eq!(
            lines_of(confined, &[("gpu-backend/src/backend.rs", text)]).len(),
            0
        );
        assert_eq!(
            lines_of(confined, &[("gpu-backend/src/model.rs", text)]),
            [
                "gpu-backend/src/model.rs:1: `feature = \"cuda\"` may stand in \
              gpu-backend/src/backend.rs only"
            ]
        );
    }
}
