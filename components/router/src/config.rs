//! The variables `backends`, `model_simple` and `model_complex`, parsed and validated whole.
//!
//! The first thing that every call here does. It knows no backend's state.

use serde::Deserialize;

/// Backends, at most: each is asked in turn when names are looked up.
pub const BACKENDS_MAX: usize = 64;

/// Words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// One place that serves models.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// For health, logs and receipts.
    pub name: String,
    /// `http://host:port`, with no path.
    pub url: String,
    /// Only these of its models are offered; all, if left out.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Lower is asked first; equals share the work.
    #[serde(default)]
    pub priority: u32,
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

impl Config {
    pub fn parse(
        backends: &str,
        model_simple: &str,
        model_complex: &str,
    ) -> Result<Self, ConfigError> {
        let mut backends: Vec<Backend> = serde_json::from_str(backends)
            .map_err(|error| ConfigError(format!("variable `backends`: {error}")))?;
        if backends.is_empty() || backends.len() > BACKENDS_MAX {
            return Err(ConfigError(format!(
                "variable `backends`: {} backends, but there must be 1 to {BACKENDS_MAX}",
                backends.len()
            )));
        }
        for index in 0..backends.len() {
            let (before, rest) = backends.split_at_mut(index);
            let backend = &mut rest[0];
            backend.url = origin(&backend.name, &backend.url)?;
            if backend.name.is_empty() || before.iter().any(|other| other.name == backend.name) {
                return Err(ConfigError(format!(
                    "variable `backends`: the name `{}` is empty or given twice",
                    backend.name
                )));
            }
        }
        backends.sort_by_key(|backend| backend.priority);
        let model = |name: &str| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(Self {
            backends,
            model_simple: model(model_simple),
            model_complex: model(model_complex),
        })
    }
}

/// `http://host:port`, without a slash at the end.
fn origin(name: &str, url: &str) -> Result<String, ConfigError> {
    let url = url.trim().trim_end_matches('/');
    let host = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => {
            Ok(url.to_owned())
        }
        _ => Err(ConfigError(format!(
            "variable `backends`: the url of `{name}` must be http://host:port, with no path"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_configuration() {
        let config = Config::parse(
            r#"[{"name":"b","url":"http://10.0.0.2:8000/","priority":2},
                {"name":"a","url":"https://a.example","models":["m"]}]"#,
            " small ",
            "",
        )
        .unwrap();
        let names: Vec<&str> = config.backends.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(config.backends[1].url, "http://10.0.0.2:8000");
        assert_eq!(
            config.backends[0].models.as_deref(),
            Some(&["m".to_owned()][..])
        );
        assert_eq!(config.model_simple.as_deref(), Some("small"));
        assert_eq!(config.model_complex, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (backends, words) in [
            ("", "EOF"),
            ("[]", "0 backends"),
            (r#"[{"name":"a"}]"#, "missing field `url`"),
            (
                r#"[{"name":"a","url":"http://a","weight":1}]"#,
                "unknown field `weight`",
            ),
            (r#"[{"name":"a","url":"a:8000"}]"#, "url of `a`"),
            (r#"[{"name":"a","url":"http://a/v1"}]"#, "url of `a`"),
            (r#"[{"name":"","url":"http://a"}]"#, "is empty"),
            (
                r#"[{"name":"a","url":"http://a"},{"name":"a","url":"http://b"}]"#,
                "given twice",
            ),
        ] {
            let error = Config::parse(backends, "", "").unwrap_err().to_string();
            assert!(error.contains(words), "{backends}: {error}");
        }
    }
}
