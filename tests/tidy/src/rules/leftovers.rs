//! What was meant to be taken out again: notes to oneself, and debugging macros.
//!
//! Prose (`.md`) may speak of them; code may not.

use crate::problem::Problem;
use crate::repository::Repository;

/// Spelled apart, so that this file does not find itself.
const NOTES: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];
const MACROS: [&str; 3] = [
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("dbg", "!"),
];

const CODE: [&str; 14] = [
    "rs", "toml", "wit", "ts", "tsx", "js", "mjs", "css", "html", "py", "sh", "yml", "yaml", "json",
];

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &repository.files {
        let script = file.text.starts_with("#!/");
        if !script && !CODE.iter().any(|extension| file.has_extension(extension)) {
            continue;
        }
        for (at, line) in file.text.lines().enumerate() {
            for note in NOTES.iter().filter(|note| has_word(line, note)) {
                problems.push(Problem::at(
                    &file.path,
                    at + 1,
                    format!("a leftover {note}; do it, or say in the docs that it is missing"),
                ));
            }
            if !file.has_extension("rs") {
                continue;
            }
            for name in MACROS.iter().filter(|name| has_word(line, name)) {
                problems.push(Problem::at(
                    &file.path,
                    at + 1,
                    format!("a leftover `{name}`"),
                ));
            }
        }
    }
    problems
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|s| s.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::super::lines_of;
    use super::*;

    fn check_line(path: &str, line: &str, expect: usize) {
        let lines = lines_of(check, &[(path, line)]);
        assert_eq!(lines.len(), expect, "{path} {line:?}: {lines:?}");
    }

    #[test]
    fn notes_are_found_in_code_of_every_kind() {
        for note in NOTES {
            check_line("a.rs", &format!("// {note}: later\n"), 1);
            check_line("a.ts", &format!("// {note} later\n"), 1);
            check_line("run", &format!("#!/usr/bin/env bash\n# {note}\n"), 1);
        }
    }

    #[test]
    fn words_that_only_contain_one_are_fine() {
        check_line("a.sh", &format!("mktemp -d /tmp/{0}{0}\n", NOTES[2]), 0);
        check_line("a.rs", &format!("let {}S = 1;\n", NOTES[0]), 0);
        check_line("a.rs", "let todo = list();\n", 0);
    }

    #[test]
    fn prose_and_data_may_speak_of_them() {
        check_line("STYLE.md", &format!("No leftover {}.\n", NOTES[0]), 0);
        check_line("weights.txt", &format!("{}\n", NOTES[0]), 0);
    }

    #[test]
    fn debugging_macros_are_found_with_their_line() {
        for name in MACROS {
            let lines = lines_of(
                check,
                &[("a.rs", &format!("fn f() {{\n    {name}(x)\n}}\n"))],
            );
            assert_eq!(lines, [format!("a.rs:2: a leftover `{name}`")]);
        }
    }
}
