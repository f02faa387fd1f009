//! Every variable in `spin.toml` is explained in a README.
//!
//! Looks for its name in backticks; whether the words are true is for the reader.

use std::collections::BTreeSet;

use crate::problem::Problem;
use crate::repository::Repository;

const MANIFEST: &str = "spin.toml";

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let Some(manifest) = repository.file(MANIFEST) else {
        return Vec::new();
    };
    let table = match manifest.text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => return vec![Problem::of(MANIFEST, error.to_string())],
    };
    let readmes: Vec<&str> = repository
        .files
        .iter()
        .filter(|f| f.name() == "README.md")
        .map(|f| f.text.as_str())
        .collect();
    let mut problems = Vec::new();
    for name in names(&table) {
        let quoted = format!("`{name}`");
        if !readmes.iter().any(|text| text.contains(&quoted)) {
            problems.push(Problem::of(
                MANIFEST,
                format!("the variable {quoted} is in no README.md; say what it does, and its unit"),
            ));
        }
    }
    problems
}

/// The application's variables, and the components'.
fn names(table: &toml::Table) -> BTreeSet<&str> {
    let of_application = table.get("variables").and_then(toml::Value::as_table);
    let components = table.get("component").and_then(toml::Value::as_table);
    let of_components = components
        .into_iter()
        .flat_map(|all| all.values())
        .filter_map(|component| component.get("variables").and_then(toml::Value::as_table));
    of_application
        .into_iter()
        .chain(of_components)
        .flat_map(|variables| variables.keys().map(String::as_str))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::lines_of;
    use super::*;

    const MANIFEST_TEXT: &str = "[variables]\nmask = { default = \"email\" }\n\
        [component.gateway.variables]\nbackends = \"[]\"\n";

    #[test]
    fn explained_variables_are_fine() {
        let files = [
            ("spin.toml", MANIFEST_TEXT),
            ("components/safety/README.md", "`mask`: what is masked.\n"),
            ("components/router/README.md", "`backends`: where.\n"),
        ];
        assert_eq!(lines_of(check, &files), Vec::<String>::new());
    }

    #[test]
    fn a_variable_that_nobody_explains_is_told() {
        let files = [
            ("spin.toml", MANIFEST_TEXT),
            ("README.md", "mask is not in backticks\n"),
        ];
        let lines = lines_of(check, &files);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].starts_with("spin.toml: the variable `backends`"),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("spin.toml: the variable `mask`"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_broken_manifest_is_told() {
        assert_eq!(lines_of(check, &[("spin.toml", "[variables\n")]).len(), 1);
    }
}
