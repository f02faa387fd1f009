//! Who we are to a registry: what `docker login` (or `podman login` with `DOCKER_CONFIG`)
//! keeps in `config.json`.
//!
//! It never shows a password. Credential helpers are not asked, and identity tokens not sent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

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

fn find(text: &str, registry: &str) -> Option<(String, String)> {
    let config: Config = serde_json::from_str(text).ok()?;
    let is_named = |name: &str| {
        let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
        bare.split('/').next() == Some(registry)
    };
    let (_, entry) = config.auths.into_iter().find(|(name, _)| is_named(name))?;
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
}
