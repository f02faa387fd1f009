//! Who we are to a registry: what `docker login`, `edge registry login` (or `podman login`
//! with `DOCKER_CONFIG`) keeps in `config.json`.
//!
//! It never shows a password. Credential helpers are not asked, and identity tokens not sent.

use super::RegistryError;
use super::login::Login;
use crate::private;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What Docker calls its own registry in its file.
const DOCKER_HUB: (&str, &str) = ("index.docker.io", "https://index.docker.io/v1/");

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// `USER:PASSWORD` in base64.
    auth: Option<String>,
}

/// Docker's file, if it can be anywhere.
pub(super) fn file() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

/// The login for `registry`, if there is one.
pub(super) fn of(registry: &str) -> RegistryAuth {
    let text = file().and_then(|file| std::fs::read_to_string(file).ok());
    let login = text.and_then(|text| find(&text, registry));
    login.map_or(RegistryAuth::Anonymous, |(user, password)| {
        RegistryAuth::Basic(user, password)
    })
}

/// Keeps a login for `registry`, beside whatever else the file holds; where that is.
///
/// # Errors
/// A file that is not Docker's, which stays as it is, or one that cannot be written.
pub(super) fn keep(registry: &str, login: &Login) -> Result<PathBuf, RegistryError> {
    let path = file().ok_or_else(|| {
        RegistryError::Wrong("HOME or DOCKER_CONFIG must say where logins are kept".to_owned())
    })?;
    // A link stays one.
    let path = path.canonicalize().unwrap_or(path);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => "{}".to_owned(),
        Err(error) => return Err(error.into()),
    };
    let text = with(&text, registry, login).ok_or_else(|| {
        let path = path.display();
        RegistryError::Wrong(format!("{path}: is not Docker's file; nothing is written"))
    })?;
    private::folder(path.parent().unwrap_or(Path::new(".")))?;
    private::write(&path, text.as_bytes())?;
    Ok(path)
}

/// The file's text with the login; `None` if it is not Docker's.
fn with(text: &str, registry: &str, login: &Login) -> Option<String> {
    let mut config: Map<String, Value> = serde_json::from_str(text).ok()?;
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    let auths = auths.as_object_mut()?;
    // Of two for one registry, the other might be found.
    auths.retain(|name, _| !is_named(name, registry));
    let name = match registry {
        hub if hub == DOCKER_HUB.0 => DOCKER_HUB.1,
        other => other,
    };
    let auth = BASE64_STANDARD.encode(format!("{}:{}", login.user, login.password));
    auths.insert(name.to_owned(), json!({ "auth": auth }));
    serde_json::to_string_pretty(&config).ok()
}

/// Is `registry` what the file calls `name`?
fn is_named(name: &str, registry: &str) -> bool {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    bare.split('/').next() == Some(registry)
}

fn find(text: &str, registry: &str) -> Option<(String, String)> {
    let config: Config = serde_json::from_str(text).ok()?;
    let mut auths = config.auths.into_iter();
    let (_, entry) = auths.find(|(name, _)| is_named(name, registry))?;
    let plain = BASE64_STANDARD.decode(entry.auth?).ok()?;
    let plain = String::from_utf8(plain).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_its_registry() {
        let text = r#"{ "auths": { "https://r.example/v1/": { "auth": "dTpwOnE=" },
            "helped.example": {}, "bad.example": { "auth": "?" } } }"#;
        let login = Some(("u".to_owned(), "p:q".to_owned()));
        assert_eq!(find(text, "r.example"), login);
        for other in ["helped.example", "bad.example", "example", "r.example:5000"] {
            assert_eq!(find(text, other), None, "{other}");
        }
        assert_eq!(find("{}", "r.example"), None);
        assert_eq!(find("", "r.example"), None);
    }

    #[test]
    fn a_login_is_kept_beside_what_else_there_is() {
        let login = Login {
            user: "u".to_owned(),
            password: "p:q".to_owned(),
        };
        let before = r#"{ "auths": { "https://r.example/v1/": { "auth": "?" }, "b.example": {} },
            "credsStore": "desktop", "future": [1] }"#;
        let after = with(before, "r.example", &login).unwrap();
        let found = Some(("u".to_owned(), "p:q".to_owned()));
        assert_eq!(find(&after, "r.example"), found);
        let after: Value = serde_json::from_str(&after).unwrap();
        assert_eq!(after["auths"]["b.example"], json!({}));
        assert_eq!(after["auths"].as_object().unwrap().len(), 2);
        assert_eq!(after["credsStore"], "desktop");
        assert_eq!(after["future"], json!([1]));
        let hub = with("{}", DOCKER_HUB.0, &login).unwrap();
        assert!(hub.contains(DOCKER_HUB.1), "{hub}");
        assert_eq!(find(&hub, DOCKER_HUB.0), found);
        for other in ["", "[]", "{ \"auths\": 1 }", "{"] {
            assert!(with(other, "r.example", &login).is_none(), "{other}");
        }
    }
}
