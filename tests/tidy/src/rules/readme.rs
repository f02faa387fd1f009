//! The README's tree is the repository's tree: what it draws exists, and every
//! folder at the top is drawn.
//!
//! A tree is a fenced block whose lines name a file or folder first, with or without
//! box-drawing; or a table whose first cells do. A folder ends in `/`:
//!
//! ```text
//! edge/            the host              | `edge/` | the host |
//! └── bindings/    generated
//! ```

use std::collections::BTreeSet;

use crate::problem::Problem;
use crate::repository::Repository;

const README: &str = "README.md";
const NO_TREE: &str = "has no tree: a fenced block or a table with a line per folder, `edge/`";
/// Fewer folders than this make no tree.
const TREE_FOLDERS_MIN: usize = 4;

/// One line of the tree: the path that it stands for.
struct Entry {
    line: usize,
    path: String,
    is_folder: bool,
}

fn is_tree(entries: &[Entry]) -> bool {
    entries.iter().filter(|entry| entry.is_folder).count() >= TREE_FOLDERS_MIN
}

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let Some(readme) = repository.file(README) else {
        return vec![Problem::of(README, "is missing")];
    };
    let drawn = blocks(&readme.text).into_iter().map(|block| tree(&block));
    let listed = tables(&readme.text).into_iter();
    let Some(entries) = drawn.chain(listed).find(|entries| is_tree(entries)) else {
        return vec![Problem::of(README, NO_TREE)];
    };
    let entries = without_root(entries, repository);
    let mut problems: Vec<Problem> = entries
        .iter()
        .filter(|entry| !repository.has(&entry.path))
        .map(|e| {
            Problem::at(
                README,
                e.line,
                format!("draws `{}`, which is not there", e.path),
            )
        })
        .collect();
    let drawn: BTreeSet<&str> = entries.iter().map(|e| e.path.as_str()).collect();
    for folder in folders_at_the_top(repository) {
        if !drawn.contains(folder) {
            problems.push(Problem::of(
                README,
                format!("does not draw the folder `{folder}/`"),
            ));
        }
    }
    problems
}

fn folders_at_the_top(repository: &Repository) -> BTreeSet<&str> {
    repository
        .files
        .iter()
        .filter_map(|f| f.path.split_once('/').map(|(top, _)| top))
        .filter(|top| !top.starts_with('.'))
        .collect()
}

/// The fenced blocks, each line with its number.
fn blocks(text: &str) -> Vec<Vec<(usize, &str)>> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<(usize, &str)>> = None;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            match open.take() {
                Some(block) => blocks.push(block),
                None => open = Some(Vec::new()),
            }
        } else if let Some(block) = &mut open {
            block.push((at + 1, line));
        }
    }
    blocks
}

/// The first cells of each table, where they name a path: `` `edge/` `` or a link.
fn tables(text: &str) -> Vec<Vec<Entry>> {
    let mut tables = vec![Vec::new()];
    for (at, line) in text.lines().enumerate() {
        let Some(cell) = line
            .strip_prefix('|')
            .and_then(|rest| rest.split('|').next())
        else {
            tables.push(Vec::new());
            continue;
        };
        let cell = cell.trim();
        let code = cell
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('`'));
        let link = cell
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.split_once("]("))
            .map(|(_, path)| path);
        if let (Some(path), Some(table)) = (code.or(link), tables.last_mut()) {
            let is_folder = path.ends_with('/');
            let path = path.trim_end_matches('/').to_owned();
            table.push(Entry {
                line: at + 1,
                path,
                is_folder,
            });
        }
    }
    tables
}

/// The entries of a block, taken as a tree.
fn tree(block: &[(usize, &str)]) -> Vec<Entry> {
    let mut entries = Vec::new();
    // Where we are: the column of each folder that is open, and its path.
    let mut open: Vec<(usize, String)> = Vec::new();
    for &(line, text) in block {
        let Some((column, word)) = first_word(text) else {
            continue;
        };
        let is_folder = word.ends_with('/');
        // A line of prose that goes on from the one above.
        if !is_folder && !word.contains('.') {
            continue;
        }
        open.retain(|(parent, _)| *parent < column);
        let name = word.trim_end_matches('/');
        let path = match open.last() {
            Some((_, parent)) => format!("{parent}/{name}"),
            None => name.to_owned(),
        };
        if is_folder {
            open.push((column, path.clone()));
        }
        entries.push(Entry {
            line,
            path,
            is_folder,
        });
    }
    entries
}

/// The first word after the drawing, and the column in which it starts.
fn first_word(text: &str) -> Option<(usize, &str)> {
    let is_drawing = |c: char| c == ' ' || ('\u{2500}'..='\u{257f}').contains(&c);
    let (column, (at, _)) = text
        .char_indices()
        .enumerate()
        .find(|(_, (_, c))| !is_drawing(*c))?;
    Some((column, text.get(at..)?.split_whitespace().next()?))
}

/// Some trees begin with the name of the clone; then all else lies below it.
fn without_root(entries: Vec<Entry>, repository: &Repository) -> Vec<Entry> {
    let Some(first) = entries.first() else {
        return entries;
    };
    let prefix = format!("{}/", first.path);
    let rooted = entries.len() > 1 && entries.iter().skip(1).all(|e| e.path.starts_with(&prefix));
    if !rooted || repository.has(&first.path) {
        return entries;
    }
    entries
        .into_iter()
        .skip(1)
        .map(|e| Entry {
            path: e.path.replacen(&prefix, "", 1),
            ..e
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::lines_of;
    use super::*;

    const FILES: [(&str, &str); 5] = [
        ("edge/src/main.rs", ""),
        ("edge/bindings/lib.rs", ""),
        ("components/auth/lib.rs", ""),
        ("spin.toml", ""),
        (".ci/run", ""),
    ];

    fn check_readme(readme: &str, expect: &[&str]) {
        let mut files = FILES.to_vec();
        files.push(("README.md", readme));
        assert_eq!(lines_of(check, &files), expect);
    }

    #[test]
    fn a_true_tree_is_fine_with_or_without_drawing() {
        check_readme(
            "```text\nspin.toml     the diagram\nedge/         the host\n  bindings/   \
             generated\ncomponents/   wasm\n  auth/       who\n```\n",
            &[],
        );
        check_readme(
            "```\nskerry/\n├── edge/\n│   └── bindings/\n└── components/\n    └── auth/\n```\n",
            &[],
        );
    }

    #[test]
    fn a_table_is_a_tree_too() {
        let rows = "| folder | what |\n|---|---|\n| `edge/` | host |\n| `components/` | wasm |\n\
            | `edge/bindings/` | generated |\n| [spin.toml](spin.toml) | the diagram |\n";
        check_readme(&format!("{rows}| `components/auth/` | who |\n"), &[]);
        check_readme(
            &format!("{rows}| `gone/` | gone |\n"),
            &["README.md:7: draws `gone`, which is not there"],
        );
        // Another table is none.
        check_readme(
            &format!("| `x` | y |\n\nWords.\n\n{rows}| `edge/src/` | s |\n"),
            &[],
        );
    }

    #[test]
    fn what_is_drawn_must_be_there() {
        check_readme(
            "```\nedge/\n  bindings/\ncomponents/\n  auth/\n  gone/\n```\n",
            &["README.md:6: draws `components/gone`, which is not there"],
        );
    }

    #[test]
    fn what_is_there_must_be_drawn() {
        check_readme(
            "```\nedge/\n  bindings/\n  src/\n  src/main.rs\n  bindings/\n```\n",
            &["README.md: does not draw the folder `components/`"],
        );
    }

    #[test]
    fn other_blocks_are_no_tree() {
        check_readme(
            "```sh\ncargo run --release -p edge -- up\n```\n",
            &[&format!("README.md: {NO_TREE}")],
        );
    }
}
