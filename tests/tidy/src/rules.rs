//! The rules, in the order in which a reader would ask.
//!
//! Each is a function from the repository to its problems, with good and bad
//! samples beside it. A rule never stops another.

mod crates;
mod leftovers;
mod length;
mod names;
mod opening;
mod places;
mod readme;
mod variables;

use crate::problem::Problem;
use crate::repository::Repository;

type Rule = fn(&Repository) -> Vec<Problem>;

const RULES: [Rule; 9] = [
    names::check,
    opening::check,
    length::check,
    leftovers::check,
    places::check,
    crates::check,
    crates::confined,
    readme::check,
    variables::check,
];

pub(crate) fn check(repository: &Repository) -> Vec<Problem> {
    RULES.iter().flat_map(|rule| rule(repository)).collect()
}

/// What every rule's tests call: the lines that it prints for these files.
#[cfg(test)]
fn lines_of(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    rule(&Repository::of(files))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_asked_even_after_one_found_something() {
        let repository = Repository::of(&[
            ("README.md", "# Sample\n"),
            ("edge/src/utils/mod.rs", "fn no_opening() {}\n"),
        ]);
        let lines: Vec<String> = check(&repository).iter().map(ToString::to_string).collect();
        for expected in ["mod.rs", "utils", "//!", "tree"] {
            assert!(
                lines.iter().any(|l| l.contains(expected)),
                "{expected}: {lines:#?}"
            );
        }
    }
}
