//! Names of files and folders: nouns of the domain, and `foo.rs` beside `foo/`.
//!
//! Looks at paths only, never into a file.

use crate::problem::Problem;
use crate::repository::Repository;

/// They say nothing of what is inside.
const EMPTY_NOUNS: [&str; 8] = [
    "utils",
    "util",
    "common",
    "helpers",
    "helper",
    "misc",
    "handlers",
    "controllers",
];

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in repository.with_extension("rs") {
        if file.name() == "mod.rs" {
            let folder = file.folder();
            problems.push(Problem::of(
                &file.path,
                format!("a module file named mod.rs; move it to {folder}.rs, beside the folder"),
            ));
        }
        for part in file.path.split('/') {
            let noun = part.strip_suffix(".rs").unwrap_or(part);
            if EMPTY_NOUNS.contains(&noun) {
                problems.push(Problem::of(
                    &file.path,
                    format!("`{noun}` says nothing; name it after what it holds"),
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

    #[test]
    fn a_module_beside_its_folder_is_fine() {
        let files = [("edge/src/serve.rs", ""), ("edge/src/serve/tls.rs", "")];
        assert_eq!(lines_of(check, &files), Vec::<String>::new());
    }

    #[test]
    fn mod_rs_is_told_where_to_go() {
        assert_eq!(
            lines_of(check, &[("edge/src/serve/mod.rs", "")]),
            ["edge/src/serve/mod.rs: a module file named mod.rs; \
              move it to edge/src/serve.rs, beside the folder"]
        );
    }

    #[test]
    fn empty_nouns_are_refused_as_files_and_as_folders() {
        assert_eq!(lines_of(check, &[("a/src/utils.rs", "")]).len(), 1);
        assert_eq!(lines_of(check, &[("a/src/common/x.rs", "")]).len(), 1);
        // Part of a longer name is no matter.
        assert_eq!(lines_of(check, &[("a/src/common_prefix.rs", "")]).len(), 0);
    }
}
