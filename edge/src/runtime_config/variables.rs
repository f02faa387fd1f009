//! Where the values of variables come from, besides the command line: `[[variables_provider]]`.
//!
//! A file is read once, when the configuration is. It knows values, so nothing here is ever
//! logged or printed. It does NOT know which variables there are.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What stands before a variable's name in the environment, with a `_`.
const DEFAULT_PREFIX: &str = "SPIN_VARIABLE";
/// The file that is read besides the environment if it is there, as under Spin.
const DEFAULT_DOTENV: &str = ".env";

/// One provider as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(rename = "type")]
    kind: Kind,
    prefix: Option<String>,
    dotenv_path: Option<PathBuf>,
    values: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Env,
    Static,
}

/// One provider.
pub(crate) enum VariableProvider {
    /// `PREFIX_NAME` in the environment, or else in a file.
    Environment {
        prefix: String,
        file: BTreeMap<String, String>,
    },
    /// Values that the configuration names.
    Static(BTreeMap<String, String>),
}

impl std::fmt::Debug for VariableProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VariableProvider")
    }
}

impl VariableProvider {
    /// Reads what `written` names; a relative path starts from `folder`.
    pub(super) fn load(written: Written, folder: &Path) -> Result<Self, String> {
        let only_for = |kind: &str, key: &str, set: bool| match set {
            true => Err(format!("`{key}` is for type = {kind:?} only")),
            false => Ok(()),
        };
        match written.kind {
            Kind::Env => {
                only_for("static", "values", written.values.is_some())?;
                let file = match written.dotenv_path {
                    Some(path) => dotenv(&folder.join(path))?,
                    None => BTreeMap::new(),
                };
                Ok(Self::Environment {
                    prefix: written.prefix.unwrap_or(DEFAULT_PREFIX.to_owned()),
                    file,
                })
            }
            Kind::Static => {
                only_for("env", "prefix", written.prefix.is_some())?;
                only_for("env", "dotenv_path", written.dotenv_path.is_some())?;
                let values = written.values.ok_or("`values` is missing")?;
                Ok(Self::Static(values))
            }
        }
    }

    /// The provider that is always asked, as the last: the environment, and the file `.env`
    /// in `folder` if there is one.
    pub(super) fn fallback(folder: &Path) -> Result<Self, String> {
        let path = folder.join(DEFAULT_DOTENV);
        Ok(Self::Environment {
            prefix: DEFAULT_PREFIX.to_owned(),
            file: if path.is_file() {
                dotenv(&path)?
            } else {
                BTreeMap::new()
            },
        })
    }

    /// The value of variable `name`.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Static(values) => values.get(name).cloned(),
            Self::Environment { prefix, file } => {
                let name = format!("{prefix}_{}", name.to_ascii_uppercase());
                std::env::var(&name)
                    .ok()
                    .or_else(|| file.get(&name).cloned())
            }
        }
    }
}

/// Reads `NAME=VALUE` lines. An error names the file and never its content.
fn dotenv(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let wrong = |what: String| format!("{}: {what}", path.display());
    let lines = dotenvy::from_path_iter(path).map_err(|error| match error {
        dotenvy::Error::Io(error) => wrong(error.to_string()),
        _ => wrong("cannot be read".to_owned()),
    })?;
    lines
        .enumerate()
        .map(|(number, entry)| {
            entry.map_err(|_| wrong(format!("entry {} is not NAME=VALUE", number + 1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, folder: &Path) -> Result<VariableProvider, String> {
        VariableProvider::load(toml::from_str(text).unwrap(), folder)
    }

    #[test]
    fn a_file_stands_behind_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let text = "APP_TOKEN='a b' # a comment\nOTHER=x\n";
        std::fs::write(folder.path().join("vars.env"), text).unwrap();
        let written = "type = \"env\"\nprefix = \"APP\"\ndotenv_path = \"vars.env\"\n";
        let provider = load(written, folder.path()).unwrap();
        assert_eq!(provider.get("token").as_deref(), Some("a b"));
        assert_eq!(provider.get("other"), None);
    }

    #[test]
    fn a_wrong_provider_is_told_without_a_value() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bad.env"), "A=1\nse cret\n").unwrap();
        for (text, words) in [
            ("type = \"static\"\n", "`values`"),
            ("type = \"static\"\nprefix = \"A\"\n", "`prefix`"),
            ("type = \"env\"\nvalues = {}\n", "`values`"),
            ("type = \"env\"\ndotenv_path = \"none.env\"\n", "none.env"),
            ("type = \"env\"\ndotenv_path = \"bad.env\"\n", "entry 2"),
        ] {
            let error = load(text, folder.path()).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
