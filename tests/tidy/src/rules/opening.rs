//! Every Rust file opens with `//!`: what it is, its place, what it does not know.
//!
//! Checks that the words are there, not that they are true.

use crate::problem::Problem;
use crate::repository::Repository;

/// A `//!` of one word explains nothing.
const OPENING_CHARS_MIN: usize = 20;

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    repository
        .with_extension("rs")
        .filter_map(|file| {
            let opening: String = file
                .text
                .lines()
                .skip_while(|l| l.is_empty() || l.starts_with("#!"))
                .map_while(|l| l.strip_prefix("//!"))
                .collect();
            if opening.is_empty() {
                Some(Problem::at(
                    &file.path,
                    1,
                    "no opening `//!`; say what the file is, its place in a request's path, \
                     and what it does not know",
                ))
            } else if opening.trim().len() < OPENING_CHARS_MIN {
                Some(Problem::at(
                    &file.path,
                    1,
                    "its opening `//!` says too little",
                ))
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::lines_of;
    use super::*;

    fn check_text(text: &str, expect: usize) {
        let lines = lines_of(check, &[("a.rs", text)]);
        assert_eq!(lines.len(), expect, "{text:?}: {lines:?}");
    }

    #[test]
    fn files_with_an_opening_are_fine() {
        check_text("//! What a key may do, and for how long.\nfn f() {}\n", 0);
        check_text("//!\n//! What a key may do, and for how long.\n", 0);
        check_text("#![no_std]\n//! What a key may do, and for how long.\n", 0);
    }

    #[test]
    fn files_without_one_are_not() {
        check_text("fn f() {}\n", 1);
        check_text("", 1);
        check_text("// Not a doc comment, however long it is.\n", 1);
        check_text("use std::fmt;\n//! Too late to open the file with.\n", 1);
        check_text("//! Skeleton.\nfn main() {}\n", 1);
    }
}
