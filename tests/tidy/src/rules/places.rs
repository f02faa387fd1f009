//! Nothing in the repository names one machine: no absolute folders of somebody's,
//! no package registry other than the one that each tool comes with.
//!
//! The folders are listed in `tests/tidy/places.txt`, one prefix a line.

use crate::problem::Problem;
use crate::repository::{File, Repository};

const LIST: &str = "tests/tidy/places.txt";

/// Ways to send a package client somewhere else, and why it is wrong.
const REGISTRY_SETTINGS: [(&str, &str); 6] = [
    (
        "\"resolved\":",
        "a lock file with download addresses; set `omit-lockfile-registry-resolved`",
    ),
    ("--index-url", "a registry of its own"),
    ("--extra-index-url", "a registry of its own"),
    ("--registry", "a registry of its own"),
    ("registry=", "a registry of its own"),
    ("replace-with", "a registry of its own"),
];

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let Some(list) = repository.file(LIST) else {
        return vec![Problem::of(
            LIST,
            "is missing: one forbidden path prefix a line",
        )];
    };
    let prefixes: Vec<&str> = list
        .text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .collect();
    let mut problems = Vec::new();
    for file in &repository.files {
        // This rule names what it forbids, and so does its list.
        if file.path.starts_with("tests/tidy/") {
            continue;
        }
        problems.extend(folders(file, &prefixes));
        if is_settings(file) {
            problems.extend(registries(file));
        }
    }
    problems
}

fn folders(file: &File, prefixes: &[&str]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for prefix in prefixes.iter().filter(|prefix| names(line, prefix)) {
            problems.push(Problem::at(
                &file.path,
                at + 1,
                format!("names a folder of one machine, {prefix}; take it from the environment"),
            ));
        }
    }
    problems
}

/// Whether an absolute path with this prefix stands in the line: `/work/` does in
/// `cd /work/x`, and does not in `frame/work/x`.
fn names(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/})]$".contains(c))
    })
}

/// Files that package clients read.
fn is_settings(file: &File) -> bool {
    let name = file.name();
    name.ends_with("-lock.json")
        || name.starts_with("requirements")
        || [".npmrc", "pip.conf", "config.toml", "Dockerfile"].contains(&name)
        || file.text.starts_with("#!/")
}

fn registries(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (setting, why) in REGISTRY_SETTINGS {
        if let Some(at) = file.text.lines().position(|line| line.contains(setting)) {
            problems.push(Problem::at(
                &file.path,
                at + 1,
                format!("`{setting}`: {why}"),
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::lines_of;
    use super::*;

    fn check_file(path: &str, text: &str, expect: usize) {
        let lines = lines_of(check, &[(LIST, "# Why.\n/home/\n/work/\n"), (path, text)]);
        assert_eq!(lines.len(), expect, "{path} {text:?}: {lines:?}");
    }

    #[test]
    fn absolute_folders_of_a_machine_are_found() {
        check_file("a.sh", "cd /work/main\n", 1);
        check_file("a.rs", "const DIR: &str = \"/home/me/x\";\n", 1);
        check_file("a.md", "Look into `/work/x`.\n", 1);
    }

    #[test]
    fn relative_paths_and_addresses_are_fine() {
        check_file(
            "a.md",
            "see frame/work/x and https://example.org/work/x\n",
            0,
        );
        check_file("a.sh", "cd \"$HOME/work/x\"; cd ${ROOT}/home/x\n", 0);
    }

    #[test]
    fn registries_are_found_in_settings_only() {
        check_file(
            "page/package-lock.json",
            "{ \"resolved\": \"https://…\" }\n",
            1,
        );
        check_file("requirements.txt", "--index-url https://…\n", 1);
        check_file("a.rs", "const KEY: &str = \"registry=\";\n", 0);
        check_file("requirements.txt", "pytest==9.2.0\n", 0);
    }

    #[test]
    fn the_list_itself_must_be_there() {
        assert_eq!(lines_of(check, &[("a.rs", "")]).len(), 1);
    }
}
