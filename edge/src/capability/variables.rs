//! Variables: the application's, with their values from the environment, the command line
//! or their defaults, and the templates by which each component sees some of them.
//!
//! It knows values, so nothing here is ever logged or printed. It does NOT know what a
//! value is for.

use crate::manifest::template::{Template, is_variable_name};
use crate::manifest::{Component, Manifest};
use edge_bindings::port::{VariableError, Variables};
use std::collections::BTreeMap;

/// The environment variable of application variable `x` is this and `X`, as under Spin.
const ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE_";

/// The application's variables with their values.
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    /// Finds every variable's value: `given` first, then the environment, then the default.
    ///
    /// # Errors
    /// A required variable without a value, or a given one that is not declared.
    pub(crate) fn resolve(
        manifest: &Manifest,
        given: &BTreeMap<String, String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        if let Some(name) = given
            .keys()
            .find(|name| !manifest.variables.contains_key(*name))
        {
            return Err(format!("the application has no variable {name:?}"));
        }
        let mut values = BTreeMap::new();
        for (name, variable) in &manifest.variables {
            let from_environment = || {
                environment(&format!(
                    "{ENVIRONMENT_PREFIX}{}",
                    name.to_ascii_uppercase()
                ))
            };
            let value = given
                .get(name)
                .cloned()
                .or_else(from_environment)
                .or(variable.default.clone());
            match value {
                Some(value) => values.insert(name.clone(), value),
                None if variable.required => {
                    return Err(format!(
                        "variable {name:?} is required: give it by --variable {name}=… or \
                         {ENVIRONMENT_PREFIX}{}",
                        name.to_ascii_uppercase()
                    ));
                }
                None => None,
            };
        }
        Ok(Self(values))
    }

    /// Fills a template in.
    pub(crate) fn fill(&self, template: &Template) -> Result<String, String> {
        template
            .fill(|name| self.0.get(name).cloned())
            .map_err(|name| format!("variable {name:?} has no value"))
    }

    /// The variables of one component.
    pub(crate) fn of_component(&self, component: &Component) -> Result<ComponentVariables, String> {
        let mut values = BTreeMap::new();
        for (name, template) in &component.variables {
            let value = self
                .fill(template)
                .map_err(|e| format!("variables.{name}: {e}"))?;
            values.insert(name.clone(), value);
        }
        Ok(ComponentVariables(values))
    }
}

/// What one component sees.
pub(crate) struct ComponentVariables(BTreeMap<String, String>);

impl Variables for ComponentVariables {
    fn get(&self, name: &str) -> Result<String, VariableError> {
        if !is_variable_name(name) {
            return Err(VariableError::InvalidName(format!(
                "{name:?} is not a variable name"
            )));
        }
        self.0
            .get(name)
            .cloned()
            .ok_or_else(|| VariableError::Undefined(name.to_owned()))
    }

    fn all(&self) -> Vec<(String, String)> {
        self.0
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "a"
[variables]
host = { default = "example.com" }
token = { required = true, secret = true }
[[trigger.http]]
route = "/..."
component = "one"
[component.one]
source = "one.wasm"
variables = { url = "https://{{ host }}/", auth = "Bearer {{ token }}" }
"#;

    #[test]
    fn given_values_beat_the_environment_which_beats_the_default() {
        let manifest = Manifest::parse(MANIFEST, Path::new("."), None).unwrap();
        let given = BTreeMap::from([("token".to_owned(), "given".to_owned())]);
        let environment = |name: &str| (name == "SPIN_VARIABLE_HOST").then(|| "env.org".to_owned());
        let values = Values::resolve(&manifest, &given, environment).unwrap();
        let seen = values.of_component(&manifest.components["one"]).unwrap();
        assert_eq!(seen.get("url").unwrap(), "https://env.org/");
        assert_eq!(seen.get("auth").unwrap(), "Bearer given");
        assert!(matches!(seen.get("host"), Err(VariableError::Undefined(_))));
        assert!(matches!(
            seen.get("Bad-name"),
            Err(VariableError::InvalidName(_))
        ));
    }

    #[test]
    fn a_missing_or_unknown_variable_is_named() {
        let manifest = Manifest::parse(MANIFEST, Path::new("."), None).unwrap();
        let none = BTreeMap::new();
        let error = Values::resolve(&manifest, &none, |_| None).err().unwrap();
        assert!(error.contains("\"token\" is required"), "{error}");
        let given = BTreeMap::from([("tokn".to_owned(), "x".to_owned())]);
        let error = Values::resolve(&manifest, &given, |_| None).err().unwrap();
        assert!(error.contains("\"tokn\""), "{error}");
    }
}
