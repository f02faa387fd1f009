//! Which provider stands behind each label: Spin's `runtime-config.toml`, over defaults that
//! need no server.
//!
//! Parsed and checked whole before anything is opened. It does NOT open a store.

pub(crate) mod client_tls;
pub(crate) mod variables;

use crate::capability::llm::LlmEngine;
use client_tls::ClientTls;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use variables::VariableProvider;

/// What is used where the operator says nothing. Paths are below the state folder.
const DEFAULTS: &str = include_str!("../runtime-config.toml");

/// The providers by label, their paths resolved.
#[derive(Debug, Default)]
pub(crate) struct RuntimeConfig {
    pub(crate) key_value_stores: BTreeMap<String, KeyValueProvider>,
    pub(crate) sqlite_databases: BTreeMap<String, PathBuf>,
    /// Who computes for `fermyon:spin/llm`, where it is not this host's own engine.
    pub(crate) llm: Option<LlmEngine>,
    /// Asked in this order.
    pub(crate) variable_providers: Vec<VariableProvider>,
    /// The first that is for a component and a host is taken.
    pub(crate) client_tls: Vec<ClientTls>,
}

/// The provider of a key-value store.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum KeyValueProvider {
    /// A sled folder: for what can be rebuilt.
    Sled(PathBuf),
    /// A SQLite file: durable.
    Sqlite(PathBuf),
    /// A Redis server, by a URL that may hold a password.
    Redis(String),
}

impl std::fmt::Debug for KeyValueProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sled(path) => write!(f, "sled at {}", path.display()),
            Self::Sqlite(path) => write!(f, "SQLite at {}", path.display()),
            Self::Redis(_) => f.write_str("Redis"),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    key_value_store: BTreeMap<String, KeyValueWritten>,
    #[serde(default)]
    sqlite_database: BTreeMap<String, SqliteWritten>,
    llm_compute: Option<LlmWritten>,
    /// `config_provider` is its older name.
    #[serde(default, alias = "config_provider")]
    variables_provider: Vec<variables::Written>,
    #[serde(default)]
    client_tls: Vec<client_tls::Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyValueWritten {
    #[serde(rename = "type")]
    kind: KeyValueKind,
    path: Option<PathBuf>,
    url: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyValueKind {
    Redis,
    Sled,
    Spin,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqliteWritten {
    #[serde(rename = "type")]
    _kind: SqliteKind,
    path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SqliteKind {
    Spin,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum LlmWritten {
    /// The engine that is started, or named by `--backend`.
    Spin {},
    RemoteHttp {
        url: String,
        auth_token: String,
        #[serde(default)]
        api_type: LlmApi,
    },
}

/// It holds a token, which is never shown.
impl std::fmt::Debug for LlmWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LlmWritten")
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LlmApi {
    #[default]
    Default,
    OpenAi,
}

impl RuntimeConfig {
    /// The defaults below `state`, overlaid with the file at `path`.
    pub(crate) fn load(path: Option<&Path>, state: &Path) -> Result<Self, String> {
        let mut config = Self::default();
        config
            .overlay(DEFAULTS, state, state)
            .map_err(|e| format!("built-in defaults: {e}"))?;
        if let Some(path) = path {
            let named = |error: String| format!("{}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|e| named(e.to_string()))?;
            let folder = path.parent().unwrap_or(Path::new("."));
            config.overlay(&text, folder, state).map_err(named)?;
        }
        let fallback = VariableProvider::fallback(Path::new("."))?;
        config.variable_providers.push(fallback);
        Ok(config)
    }

    /// Takes over what `text` says; its relative paths start from `folder`.
    pub(crate) fn overlay(
        &mut self,
        text: &str,
        folder: &Path,
        state: &Path,
    ) -> Result<(), String> {
        let written: Written =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        for (label, store) in written.key_value_store {
            let wrong = |what: &str| format!("key_value_store.{label}: {what}");
            match (store.kind, &store.path, &store.url) {
                (KeyValueKind::Redis, Some(_), _) => return Err(wrong("redis has no `path`")),
                (KeyValueKind::Redis, None, None) => return Err(wrong("redis needs a `url`")),
                (KeyValueKind::Sled | KeyValueKind::Spin, _, Some(_)) => {
                    return Err(wrong("`url` is for type = \"redis\" only"));
                }
                _ => {}
            }
            let provider = match store.kind {
                KeyValueKind::Redis => KeyValueProvider::Redis(store.url.unwrap_or_default()),
                KeyValueKind::Sled => KeyValueProvider::Sled(
                    store
                        .path
                        .map_or_else(|| state.join("sled").join(&label), |p| folder.join(p)),
                ),
                KeyValueKind::Spin => KeyValueProvider::Sqlite(store.path.map_or_else(
                    || state.join("sqlite").join("key_value.db"),
                    |p| folder.join(p),
                )),
            };
            self.key_value_stores.insert(label, provider);
        }
        for (label, database) in written.sqlite_database {
            let path = database.path.map_or_else(
                || state.join("sqlite").join(format!("{label}.db")),
                |p| folder.join(p),
            );
            self.sqlite_databases.insert(label, path);
        }
        match written.llm_compute {
            None | Some(LlmWritten::Spin {}) => {}
            Some(LlmWritten::RemoteHttp {
                url,
                auth_token,
                api_type,
            }) => {
                let engine = LlmEngine::remote(&url, &auth_token, api_type == LlmApi::OpenAi);
                self.llm = Some(engine.map_err(|what| format!("llm_compute: {what}"))?);
            }
        }
        for (position, provider) in written.variables_provider.into_iter().enumerate() {
            let provider = VariableProvider::load(provider, folder)
                .map_err(|what| format!("variables_provider[{position}]: {what}"))?;
            self.variable_providers.push(provider);
        }
        for (position, tls) in written.client_tls.into_iter().enumerate() {
            let tls = ClientTls::load(tls, folder)
                .map_err(|what| format!("client_tls[{position}]: {what}"))?;
            self.client_tls.push(tls);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_below_the_state_folder() {
        let config = RuntimeConfig::load(None, Path::new("/state")).unwrap();
        assert_eq!(
            config.key_value_stores["cache"],
            KeyValueProvider::Sled("/state/sled/cache".into())
        );
        assert!(matches!(
            config.key_value_stores["default"],
            KeyValueProvider::Sqlite(_)
        ));
        for label in ["directory", "ledger", "conversations", "outbox"] {
            let expect = PathBuf::from(format!("/state/sqlite/{label}.db"));
            assert_eq!(config.sqlite_databases[label], expect);
        }
    }

    #[test]
    fn a_file_overlays_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime-config.toml");
        let text = "[sqlite_database.extra]\ntype = \"spin\"\npath = \"extra.db\"\n\
                    [key_value_store.cache]\ntype = \"spin\"\n";
        std::fs::write(&path, text).unwrap();
        let config = RuntimeConfig::load(Some(&path), Path::new("/state")).unwrap();
        assert_eq!(
            config.sqlite_databases["extra"],
            folder.path().join("extra.db")
        );
        assert!(matches!(
            config.key_value_stores["cache"],
            KeyValueProvider::Sqlite(_)
        ));
        assert!(config.sqlite_databases.contains_key("ledger"));
    }

    #[test]
    fn an_unknown_key_or_provider_is_named() {
        let mut config = RuntimeConfig::default();
        let mut check = |text: &str, words: &[&str]| {
            let error = config
                .overlay(text, Path::new("."), Path::new("."))
                .unwrap_err();
            for word in words {
                assert!(error.contains(word), "{word} is not in {error}");
            }
        };
        check(
            "[key_value_store.a]\ntype = \"azure_cosmos\"\n",
            &["azure_cosmos", "sled", "redis", "line 2"],
        );
        check(
            "[key_value_store.a]\ntype = \"redis\"\n",
            &["key_value_store.a", "`url`"],
        );
        check(
            "[[variables_provider]]\ntype = \"vault\"\n",
            &["vault", "env", "static", "line 2"],
        );
        check(
            "[[config_provider]]\ntype = \"static\"\n",
            &["variables_provider[0]", "`values`"],
        );
        check(
            "[llm_compute]\ntype = \"local\"\n",
            &["local", "spin", "remote_http", "line 2"],
        );
        check(
            "[llm_compute]\ntype = \"remote_http\"\nurl = \"models.example.com\"\n\
             auth_token = \"t\"\n",
            &["llm_compute", "url", "http://"],
        );
        check(
            "[llm_compute]\ntype = \"remote_http\"\nurl = \"http://a\"\nauth_token = \"t\"\n\
             api_type = \"gopher\"\n",
            &["gopher", "open_ai"],
        );
        check(
            "[compute]\ntype = \"spin\"\n",
            &["compute", "key_value_store"],
        );
        check(
            "[sqlite_database.a]\ntype = \"spin\"\nurl = \"x\"\n",
            &["url", "path", "line 3"],
        );
    }
}
