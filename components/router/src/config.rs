//! The variables `backends`, `model_simple` and `model_complex`, parsed and validated whole.
//!
//! The first thing that every call here does. It knows no backend's state. `written` reads the
//! JSON, which names the variables that hold secrets; `resolve` puts their values in.
//!
//! Invariant: no error repeats a value, which may be a secret in the wrong place. It names keys,
//! variables, and the backend by its name.

use std::collections::BTreeMap;

use crate::dialect::Dialect;

mod headers;
mod written;

#[cfg(test)]
mod tests;

pub use headers::Headers;
pub use written::Written;

/// Backends, at most: each is asked in turn when names are looked up.
pub const BACKENDS_MAX: usize = 64;

/// Words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn of(backend: &str, words: impl std::fmt::Display) -> Self {
        Self(format!("variable `backends`: backend `{backend}`: {words}"))
    }
}

/// Which of a backend's models are offered, and under which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// All that it lists.
    All,
    /// Those of them that are named here.
    Names(Vec<String>),
    /// These, by the client's name and then the backend's, whether it lists them or not.
    Aliases(Vec<(String, String)>),
}

/// One place that serves models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// For health, logs and usage.
    pub name: String,
    /// The API's base, with no slash at the end.
    pub base_url: String,
    pub offered: Offered,
    /// Lower is asked first; equals share the work.
    pub priority: u32,
    /// None: told from its list of models.
    pub dialect: Option<Dialect>,
    /// Sent with every call.
    pub headers: Headers,
    /// None: as its dialect has it.
    pub tools: Option<bool>,
    /// In place of what its list says.
    pub context_window: Option<u32>,
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// By priority, otherwise as configured.
    pub backends: Vec<Backend>,
    /// None is the first model that is served.
    pub model_simple: Option<String>,
    pub model_complex: Option<String>,
}

impl Written {
    /// The configuration, with `values` of the variables that it names.
    pub fn resolve(
        self,
        values: &BTreeMap<String, String>,
        model_simple: &str,
        model_complex: &str,
    ) -> Result<Config, ConfigError> {
        let resolved = self.backends.into_iter().map(|written| {
            let mut backend = written.backend;
            backend.headers = headers::resolve(&backend.name, written.headers, values)?;
            Ok(backend)
        });
        let mut backends = resolved.collect::<Result<Vec<Backend>, ConfigError>>()?;
        backends.sort_by_key(|backend| backend.priority);
        let model = |name: &str| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(Config {
            backends,
            model_simple: model(model_simple),
            model_complex: model(model_complex),
        })
    }
}
