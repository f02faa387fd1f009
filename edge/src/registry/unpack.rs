//! Pulling: from what a registry says to the folder of an application.
//!
//! The order is that of trust: the manifest, who signed it, how old it is, and only then its
//! layers. It does NOT serve.

use super::RegistryError;
use super::archive;
use super::artifact::Artifact;
use super::cache::Cache;
use super::client::Registry;
use super::digest::Digest;
use super::limits::Budget;
use super::newest::Newest;
use super::plan::{FileContent, Plan};
use super::signature::VerifyingKey;
use std::path::{Path, PathBuf};

/// Where the blobs are, from an application's folder.
const BLOBS: &str = "../../blobs";

/// Whom to trust, and how far back.
pub(super) struct Trust {
    pub(super) key: VerifyingKey,
    pub(super) newest: Newest,
    pub(super) allows_older: bool,
}

/// Pulls the application of `registry`: its folder, and its digest.
pub(super) async fn pull(
    registry: &Registry,
    trust: Option<Trust>,
    cache: &Cache,
) -> Result<(PathBuf, Digest), RegistryError> {
    let artifact = registry.artifact().await?;
    let name = registry.name();
    if let Some(trust) = &trust {
        registry.verify(&artifact.digest, &trust.key).await?;
        if !trust.allows_older {
            trust.newest.check(&name, &artifact)?;
        }
    }
    registry.fetch(&artifact.layers, cache).await?;
    let folder = lay_out(&artifact, cache).await?;
    if let Some(mut trust) = trust {
        trust.newest.record(&name, &artifact)?;
    }
    Ok((folder, artifact.digest))
}

/// Lays the application out, once.
async fn lay_out(artifact: &Artifact, cache: &Cache) -> Result<PathBuf, RegistryError> {
    let folder = cache.application(&artifact.digest);
    if folder.is_dir() {
        return Ok(folder);
    }
    let mut budget = Budget::new();
    for layer in artifact.layers.iter().filter(|layer| layer.is_archive) {
        archive::unpack(&cache.path(&layer.digest), cache, &mut budget).await?;
    }
    let locked = std::fs::read(cache.path(&artifact.locked))?;
    let plan = Plan::read(&locked, BLOBS)?;
    let staging = cache.staging()?;
    let mut budget = Budget::new();
    for file in &plan.files {
        let place = staging.path().join(&file.place);
        place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        match &file.content {
            FileContent::Inline(bytes) => std::fs::write(&place, bytes)?,
            FileContent::Blob(digest) => copy(digest, &place, cache, &mut budget)?,
        }
    }
    std::fs::write(staging.path().join("spin.toml"), &plan.manifest)?;
    cache.keep_application(staging, &artifact.digest)
}

fn copy(
    digest: &Digest,
    place: &Path,
    cache: &Cache,
    budget: &mut Budget,
) -> Result<(), RegistryError> {
    if !cache.holds(digest)? {
        let message = format!("{}: no layer has {digest}", place.display());
        return Err(RegistryError::Refused(message));
    }
    let blob = cache.path(digest);
    budget.take(blob.metadata()?.len())?;
    std::fs::copy(blob, place)?;
    Ok(())
}
