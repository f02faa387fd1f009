//! From a manifest and its files to an artifact: the locked application, and a layer for
//! each component, dependency and file, or one for all files where they are many.
//!
//! Dependencies are layers of their own, as with Spin's `--compose=false`: whoever serves the
//! application composes it. It does NOT send anything.

use super::RegistryError;
use super::artifact::{APPLICATION_TYPE, ARCHIVE_TYPE, CREATED, DATA_TYPE, WASM_TYPE};
use super::digest::Digest;
use super::limits::{Budget, LAYERS_MAX};
use super::locked::{
    Content, ContentPath, LockedApp, LockedComponent, LockedDependency, LockedInherit, MIDDLEWARE,
    Source,
};
use super::{archive, lock, newest};
use crate::capability::files;
use crate::compose;
use crate::manifest::{Component, Inherit, Manifest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A file of so few bytes stands in the locked application; the figure is Spin's.
const INLINE_BYTES_MAX: usize = 128;
/// Spin's variable: set to anything, files go into an archive layer however few they are.
const ARCHIVE_ALWAYS: &str = "SPIN_OCI_ARCHIVE_LAYERS";

/// Bytes that a registry keeps.
#[derive(Debug)]
pub(super) struct Blob {
    media_type: &'static str,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

impl Blob {
    pub(super) fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            media_type,
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    fn descriptor(&self) -> OciDescriptor {
        OciDescriptor {
            media_type: self.media_type.to_owned(),
            digest: self.digest.to_string(),
            size: i64::try_from(self.bytes.len()).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        }
    }
}

/// An artifact.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) config: Blob,
    /// The locked application is the last one.
    pub(super) layers: Vec<Blob>,
    annotations: BTreeMap<String, String>,
}

impl Packed {
    pub(super) fn manifest(&self) -> OciImageManifest {
        OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            config: self.config.descriptor(),
            layers: self.layers.iter().map(Blob::descriptor).collect(),
            annotations: Some(self.annotations.clone()),
            ..OciImageManifest::default()
        }
    }
}

/// Reads all files of `manifest`. `annotations` beat those that are made of it.
pub(super) fn pack(
    manifest: &Manifest,
    annotations: &[(String, String)],
) -> Result<Packed, RegistryError> {
    let mut layers = Layers::new();
    let names = lock::names(manifest);
    let mut components = Vec::new();
    for (id, name) in &names {
        let component = &manifest.components[*id];
        components.push(layers.component(name, component, &manifest.folder)?);
    }
    let needs = components.iter().any(|c| !c.host_requirements.is_empty());
    let locked = LockedApp {
        spin_lock_version: u32::from(needs),
        must_understand: match needs {
            true => vec!["component_host_requirements".to_owned()],
            false => Vec::new(),
        },
        metadata: lock::metadata(manifest),
        host_requirements: BTreeMap::new(),
        variables: lock::variables(manifest),
        triggers: lock::triggers(manifest, &names),
        components,
    };
    let locked = serde_json::to_vec(&locked).map_err(std::io::Error::from)?;
    let locked = Blob::new(APPLICATION_TYPE, locked);
    let config = json!({
        "architecture": "wasm",
        "os": "Wasip1",
        // An image's id is this file's digest, so it differs with the application.
        "config": {
            "Labels": { "com.fermyon.spin.lockedAppDigest": locked.digest.as_str() },
        },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let always = std::env::var_os(ARCHIVE_ALWAYS).is_some();
    let mut blobs = layers.finish(if always { 0 } else { LAYERS_MAX - 1 })?;
    blobs.push(locked);
    Ok(Packed {
        config: Blob::new(IMAGE_CONFIG_MEDIA_TYPE, config.to_string()),
        layers: blobs,
        annotations: all_annotations(manifest, annotations)?,
    })
}

fn all_annotations(
    manifest: &Manifest,
    given: &[(String, String)],
) -> Result<BTreeMap<String, String>, RegistryError> {
    let of = |key: &str, text: String| (format!("org.opencontainers.image.{key}"), text);
    let mut all = BTreeMap::from([
        of("title", manifest.name.clone()),
        of("version", manifest.version.clone()),
        of("description", manifest.description.clone()),
        of("authors", manifest.authors.join(", ")),
        (CREATED.to_owned(), newest::now()?),
    ]);
    all.extend(given.iter().cloned());
    all.retain(|_, text| !text.is_empty());
    Ok(all)
}

/// The layers so far, each once.
struct Layers {
    wasm: Vec<Blob>,
    data: Vec<Blob>,
    known: BTreeSet<Digest>,
    budget: Budget,
}

impl Layers {
    fn new() -> Self {
        Self {
            wasm: Vec::new(),
            data: Vec::new(),
            known: BTreeSet::new(),
            budget: Budget::new(),
        }
    }

    /// All layers; more than `most` of them become fewer by archiving the files.
    fn finish(self, most: usize) -> Result<Vec<Blob>, RegistryError> {
        let mut blobs = self.wasm;
        if blobs.len() + self.data.len() <= most || self.data.is_empty() {
            blobs.extend(self.data);
        } else {
            let files = self.data.into_iter().map(|blob| (blob.digest, blob.bytes));
            let files: Vec<(Digest, Bytes)> = files.collect();
            // It waits for nothing: all of it is in memory.
            let archive = futures::executor::block_on(archive::pack(&files))?;
            blobs.push(Blob::new(ARCHIVE_TYPE, archive));
        }
        if blobs.len() >= LAYERS_MAX {
            let message = format!("the application has {LAYERS_MAX} components or more");
            return Err(RegistryError::Wrong(message));
        }
        Ok(blobs)
    }

    fn wasm(&mut self, path: &Path) -> Result<Source, RegistryError> {
        let read = compose::read(path);
        let bytes = read.map_err(|error| RegistryError::Wrong(error.to_string()))?;
        let blob = Blob::new(WASM_TYPE, bytes);
        let digest = Some(blob.digest.to_string());
        if self.known.insert(blob.digest.clone()) {
            self.budget.take(blob.bytes.len() as u64)?;
            self.wasm.push(blob);
        }
        Ok(Source {
            content_type: "application/wasm".to_owned(),
            content: Content {
                digest,
                inline: None,
            },
        })
    }

    fn dependency(
        &mut self,
        source: &Path,
        export: Option<String>,
        inherit: &Inherit,
    ) -> Result<LockedDependency, RegistryError> {
        Ok(LockedDependency {
            source: self.wasm(source)?,
            export,
            inherit: match inherit {
                Inherit::All => LockedInherit::All,
                Inherit::Some(names) => LockedInherit::Some(names.iter().cloned().collect()),
            },
        })
    }

    fn component(
        &mut self,
        name: &str,
        component: &Component,
        folder: &Path,
    ) -> Result<LockedComponent, RegistryError> {
        let source = self.wasm(&component.source)?;
        let mut dependencies = BTreeMap::new();
        for one in &component.dependencies {
            let locked = self.dependency(&one.source, one.export.clone(), &one.inherit)?;
            dependencies.insert(one.name.clone(), locked);
        }
        let mut middleware = Vec::new();
        for one in &component.middleware {
            middleware.push(self.dependency(&one.source, None, &one.inherit)?);
        }
        let mut trigger_dependencies = BTreeMap::new();
        if !middleware.is_empty() {
            trigger_dependencies.insert(MIDDLEWARE.to_owned(), middleware);
        }
        let config = component.variables.iter();
        Ok(LockedComponent {
            id: name.to_owned(),
            metadata: lock::grants(component),
            source,
            env: component.environment.iter().cloned().collect(),
            files: self.files(component, folder)?,
            config: config.map(|(k, v)| (k.clone(), v.to_string())).collect(),
            dependencies,
            trigger_dependencies,
            host_requirements: lock::requirements(component),
        })
    }

    fn files(
        &mut self,
        component: &Component,
        folder: &Path,
    ) -> Result<Vec<ContentPath>, RegistryError> {
        let staging = tempfile::tempdir()?;
        let mounts = files::mounts(component, folder, staging.path());
        let mut files = Vec::new();
        for mount in mounts.map_err(RegistryError::Wrong)? {
            let guest = Path::new(mount.guest.trim_matches('/'));
            self.folder(&mount.host, guest, &mut files)?;
        }
        Ok(files)
    }

    /// Adds all files below `host`. Links are left out: what they lead to may be anybody's.
    fn folder(
        &mut self,
        host: &Path,
        guest: &Path,
        files: &mut Vec<ContentPath>,
    ) -> Result<(), RegistryError> {
        let wrong = |error| RegistryError::Wrong(format!("{}: {error}", host.display()));
        let entries: Result<Vec<_>, _> = std::fs::read_dir(host).map_err(wrong)?.collect();
        let mut entries = entries.map_err(wrong)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().map_err(wrong)?;
            let place = guest.join(entry.file_name());
            if kind.is_dir() {
                self.folder(&entry.path(), &place, files)?;
            } else if kind.is_file() {
                // What is too large is refused before it is read.
                self.budget.take(entry.metadata().map_err(wrong)?.len())?;
                let bytes = std::fs::read(entry.path()).map_err(wrong)?;
                let Some(path) = place.to_str() else {
                    let message = format!("{}: its name is not UTF-8", place.display());
                    return Err(RegistryError::Wrong(message));
                };
                files.push(self.file(path, bytes));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, bytes: Vec<u8>) -> ContentPath {
        let short = bytes.len() <= INLINE_BYTES_MAX;
        let inline = short.then(|| BASE64_STANDARD.encode(&bytes));
        let blob = Blob::new(DATA_TYPE, bytes);
        let digest = Some(blob.digest.to_string());
        // Some registries take no blob of a byte or none.
        if !short && self.known.insert(blob.digest.clone()) {
            self.data.push(blob);
        }
        ContentPath {
            content: Content { inline, digest },
            path: path.to_owned(),
        }
    }
}
