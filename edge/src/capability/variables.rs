//! Variables: the application's, with their values from the command line, the providers or
//! their defaults, and the templates by which each component sees some of them.
//!
//! It knows values, so nothing here is ever logged or printed. It does NOT know what a
//! value is for.

use crate::manifest::template::{Template, is_variable_name};
use crate::manifest::{Component, Manifest};
use crate::runtime_config::variables::VariableProvider;
use edge_bindings::port::{VariableError, Variables};
use std::collections::BTreeMap;

/// The application's variables with their values.
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    /// Finds every variable's value: `given` first, then what the providers say in their
    /// order, then the default.
    ///
    /// # Errors
    /// A required variable without a value, or a given one that is not declared.
    pub(crate) fn resolve(
        manifest: &Manifest,
        given: &BTreeMap<String, String>,
        providers: &[VariableProvider],
    ) -> Result<Self, String> {
        if let Some(name) = given
            .keys()
            .find(|name| !manifest.variables.contains_key(*name))
        {
            return Err(format!("the application has no variable {name:?}"));
        }
        let mut values = BTreeMap::new();
        for (name, variable) in &manifest.variables {
            let provided = || providers.iter().find_map(|provider| provider.get(name));
            let value = given
                .get(name)
                .cloned()
                .or_else(provided)
                .or(variable.default.clone());
            match value {
                Some(value) => values.insert(name.clone(), value),
                None if variable.required => {
                    return Err(format!(
                        "variable {name:?} is required: give it by --variable {name}=…, \
                         SPIN_VARIABLE_{} or a [[variables_provider]]",
                        name.to_ascii_uppercase()
                    ));
                }
                None => None,
            };
        }
        Ok(Self(values))
    }

    /// The value of one variable of the application.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
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
    fn given_values_beat_the_providers_which_beat_the_default() {
        let manifest = Manifest::parse(MANIFEST, Path::new("."), None).unwrap();
        let given = BTreeMap::from([("token".to_owned(), "given".to_owned())]);
        let says = |name: &str, value: &str| {
            let values = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            VariableProvider::Static(values)
        };
        let providers = [
            says("other", "x"),
            says("host", "env.org"),
            says("host", "late.org"),
            says("token", "provided"),
        ];
        let values = Values::resolve(&manifest, &given, &providers).unwrap();
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
        let error = Values::resolve(&manifest, &none, &[]).err().unwrap();
        assert!(error.contains("\"token\" is required"), "{error}");
        let given = BTreeMap::from([("tokn".to_owned(), "x".to_owned())]);
        let error = Values::resolve(&manifest, &given, &[]).err().unwrap();
        assert!(error.contains("\"tokn\""), "{error}");
    }
}
