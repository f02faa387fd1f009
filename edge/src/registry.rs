//! `edge registry`, and `edge up --from REFERENCE`: applications as OCI artifacts, in Spin's
//! layout.
//!
//! A pulled application becomes a folder with a `spin.toml`, so that it is served like any
//! other. It does NOT know how one is served.

pub(crate) mod options;
mod lock;
mod locked;
mod pack;
mod archive;
mod artifact;
mod digest;
mod client;
mod credentials;
mod login;
mod limits;
mod signature;
mod newest;
mod cache;
mod plan;
mod toml;
mod unpack;
pub(crate) mod fuzzing;

use crate::build_step;
use crate::cli::{Failure, UpOptions};
use crate::log::say;
use crate::manifest::Manifest;
use client::Registry;
use newest::Newest;
use oci_client::{Reference, RegistryOperation};
use options::{PullOptions, Pulling, PushOptions, RegistryCommand};
use signature::{SigningKey, VerifyingKey};
use std::path::{Path, PathBuf};
use unpack::Trust;

/// Where state is that belongs to no manifest's folder.
const STATE_FOLDER: &str = ".skerry";
/// The registry that a reference means which names none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The largest file of a key.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Why an application could not be pushed or pulled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// What is asked for makes no sense: the operator's to change.
    #[error("{0}")]
    Wrong(String),
    /// The registry, or the way to it, failed: another try may help.
    #[error("{0}")]
    Failed(String),
    /// The artifact is not what it should be, or not by whom: another try does not help.
    #[error("{0}")]
    Refused(String),
    /// A file of this machine.
    #[error("{0}")]
    File(#[from] std::io::Error),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Wrong(text) => Self::Config(text),
            error => Self::Run(error.to_string()),
        }
    }
}

/// `edge registry`.
pub(crate) fn registry(command: &RegistryCommand) -> Result<(), Failure> {
    match command {
        RegistryCommand::Login(options) => login::login(options),
        RegistryCommand::Push(options) => push(options),
        RegistryCommand::Pull(options) => pull(options),
    }
}

fn push(options: &PushOptions) -> Result<(), Failure> {
    let reference = parse(&options.reference)?;
    if reference.digest().is_some() {
        let message = format!("{reference}: a push has a tag; its digest is what comes of it");
        return Err(Failure::Config(message));
    }
    let key = options.sign_key.as_deref().map(read_key).transpose()?;
    let key = key.map(|pem| SigningKey::parse(&pem)).transpose()?;
    let manifest = options.source.manifest()?;
    if options.build {
        let missing = build_step::build_components(&manifest)?;
        if let Some(id) = missing.first() {
            let message = format!("component {id:?} could not be built, so nothing is pushed");
            return Err(Failure::Run(message));
        }
    }
    let digest = send(&manifest, options, reference, key.as_ref())?;
    say(&format!("Pushed with digest {digest}"));
    Ok(())
}

fn send(
    manifest: &Manifest,
    options: &PushOptions,
    reference: Reference,
    key: Option<&SigningKey>,
) -> Result<digest::Digest, Failure> {
    let packed = pack::pack(manifest, &options.annotations)?;
    let sent = runtime()?.block_on(limits::bounded(async {
        let insecure = options.reach.insecure;
        let registry = Registry::open(reference, insecure, RegistryOperation::Push).await?;
        let digest = registry.push(&packed).await?;
        if let Some(key) = key {
            registry.sign(&digest, key).await?;
        }
        Ok(digest)
    }));
    Ok(sent?)
}

fn pull(options: &PullOptions) -> Result<(), Failure> {
    let reference = parse(&options.reference)?;
    let state = options.state.clone();
    let state = state.unwrap_or_else(|| PathBuf::from(STATE_FOLDER));
    let folder = fetch(reference, &options.pulling, &state)?;
    say(&format!("It is in {}", folder.display()));
    Ok(())
}

/// What `edge up` serves: where `--from` names no file but an artifact, the folder into which
/// that was pulled, and the state of the folder that it was started in.
pub(crate) fn resolve(options: &UpOptions) -> Result<UpOptions, Failure> {
    let mut options = options.clone();
    let from = options.source.from.to_str().unwrap_or_default();
    if options.source.from.exists() || !looks_like_reference(from) {
        return match options.pulling.verify_key {
            None => Ok(options),
            // Nobody is to believe that it was looked at.
            Some(_) => Err(Failure::Config(format!(
                "--verify-key: {from:?} is no application in a registry, so nobody signed it"
            ))),
        };
    }
    let reference = parse(from)?;
    let state = options.state.take();
    let state = state.unwrap_or_else(|| PathBuf::from(STATE_FOLDER));
    options.source.from = fetch(reference, &options.pulling, &state)?;
    options.state = Some(state);
    // Whoever pushed it has built it.
    options.no_build = true;
    Ok(options)
}

/// Pulls what is not here yet, and says in which folder it is.
fn fetch(reference: Reference, options: &Pulling, state: &Path) -> Result<PathBuf, Failure> {
    let trust = match &options.verify_key {
        None => None,
        Some(path) => Some(Trust {
            key: VerifyingKey::parse(&read_key(path)?)?,
            newest: Newest::load(state)?,
            allows_older: options.allow_older,
        }),
    };
    let folder = options.cache_dir.clone().or_else(default_cache);
    let folder = folder
        .ok_or_else(|| Failure::Config("--cache-dir: without HOME it has no default".to_owned()))?;
    let cache = cache::Cache::open(&folder)?;
    let name = reference.whole();
    let pulled = runtime()?.block_on(limits::bounded(async {
        let registry = Registry::open(reference, options.reach.insecure, RegistryOperation::Pull);
        unpack::pull(&registry.await?, trust, &cache).await
    }));
    let (folder, digest) = pulled?;
    say(&format!("Pulled {name} with digest {digest}"));
    Ok(folder)
}

/// A thread of its own is enough: it waits for the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(error.to_string()))
}

fn default_cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|folder| folder.is_absolute());
    let of_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    Some(cache.or_else(of_home)?.join("skerry/registry"))
}

fn read_key(path: &Path) -> Result<String, RegistryError> {
    let wrong = |what: String| RegistryError::Wrong(format!("{}: {what}", path.display()));
    let length = std::fs::metadata(path)
        .map_err(|error| wrong(error.to_string()))?
        .len();
    if length > KEY_BYTES_MAX {
        return Err(wrong("is no key".to_owned()));
    }
    std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))
}

/// Reads a reference, which must name its registry.
fn parse(text: &str) -> Result<Reference, RegistryError> {
    let wrong = |what: &str| RegistryError::Wrong(format!("{text:?} is no reference: {what}"));
    let reference = Reference::try_from(text).map_err(|error| wrong(&error.to_string()))?;
    if reference.registry() == DEFAULT_REGISTRY && !text.starts_with(DEFAULT_REGISTRY) {
        return Err(wrong("expected REGISTRY/REPOSITORY[:TAG][@DIGEST]"));
    }
    match reference.digest() {
        Some(digest) if digest::Digest::parse(digest).is_none() => {
            Err(wrong("its digest is not one of SHA-256"))
        }
        _ => Ok(reference),
    }
}

/// Is it rather a reference than a path where nothing is? Then it names a registry, and is
/// told what is wrong with it as one. A manifest's path ends with what no repository has.
fn looks_like_reference(text: &str) -> bool {
    let registry = text.split_once('/').map_or("", |(registry, _)| registry);
    let is_host = registry == "localhost" || registry.contains(['.', ':']);
    is_host && !registry.starts_with('.') && !text.ends_with(".toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_a_registry() {
        let check = |text: &str, registry: &str, repository: &str, version: &str| {
            let reference = parse(text).unwrap();
            assert!(looks_like_reference(text), "{text}");
            let found = (reference.registry(), reference.repository());
            assert_eq!(found, (registry, repository), "{text}");
            let found = reference.digest().or(reference.tag());
            assert_eq!(found, Some(version), "{text}");
        };
        let digest = format!("sha256:{}", "0a".repeat(32));
        check("ghcr.io/a/b:1.0", "ghcr.io", "a/b", "1.0");
        check("localhost:5000/app", "localhost:5000", "app", "latest");
        check("127.0.0.1:5000/app:v1", "127.0.0.1:5000", "app", "v1");
        check("docker.io/a/b:v1", "docker.io", "a/b", "v1");
        check(&format!("r.io/a:v1@{digest}"), "r.io", "a", &digest);
        let sha512 = format!("ghcr.io/a@sha512:{}", "0".repeat(128));
        for wrong in [
            "app",
            "app:1",
            "folder/app",
            "../a/b",
            "/a/b",
            "ghcr.io/A",
            "ghcr.io/a:",
            "ghcr.io/a/../b",
            "ghcr.io/a@sha256:00",
            &sha512,
            "",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for path in [
            "spin.toml",
            "./a/b",
            "../a/b",
            "/a.b/c",
            "a/b",
            "a.b/spin.toml",
            "v1.2",
        ] {
            assert!(!looks_like_reference(path), "{path}");
        }
    }
}
