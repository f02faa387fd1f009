//! An application's manifest in a registry (OCI image specification 1.1, "Image Manifest"),
//! checked: what it is made of, and when it was made.
//!
//! It does NOT know what the layers say.

use super::RegistryError;
use super::digest::Digest;
use super::limits::{APPLICATION_BYTES_MAX, BLOB_BYTES_MAX, LAYERS_MAX, LOCKED_BYTES_MAX};
use oci_client::manifest::{OciDescriptor, OciImageManifest};

/// The locked application.
pub(super) const APPLICATION_TYPE: &str = "application/vnd.fermyon.spin.application.v1+config";
pub(super) const WASM_TYPE: &str = "application/vnd.wasm.content.layer.v1+wasm";
pub(super) const DATA_TYPE: &str = "application/vnd.wasm.content.layer.v1+data";
pub(super) const ARCHIVE_TYPE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
/// When an artifact was made, as RFC 3339 has it.
pub(super) const CREATED: &str = "org.opencontainers.image.created";

/// A valid manifest of an application.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) digest: Digest,
    /// Everything to fetch, the locked application included.
    pub(super) layers: Vec<Layer>,
    /// The locked application's.
    pub(super) locked: Digest,
    pub(super) created: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) is_archive: bool,
}

fn refused(what: impl Into<String>) -> RegistryError {
    RegistryError::Refused(what.into())
}

/// The manifest as it is written, of an application or of signatures.
pub(super) fn read_manifest(bytes: &[u8]) -> Result<OciImageManifest, RegistryError> {
    let manifest: OciImageManifest = serde_json::from_slice(bytes)
        .map_err(|error| refused(format!("it is no image manifest: {error}")))?;
    if manifest.schema_version != 2 {
        let version = manifest.schema_version;
        return Err(refused(format!("its schemaVersion is {version}, not 2")));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(refused(format!("it has more than {LAYERS_MAX} layers")));
    }
    Ok(manifest)
}

impl Artifact {
    /// Reads a manifest and bounds all that it names.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, RegistryError> {
        let manifest = read_manifest(bytes)?;
        let is_application = |layer: &&OciDescriptor| layer.media_type == APPLICATION_TYPE;
        let mut layers: Vec<Layer> = manifest
            .layers
            .iter()
            .map(layer)
            .collect::<Result<_, _>>()?;
        let locked = match manifest.layers.iter().filter(is_application).count() {
            1 => manifest.layers.iter().find(is_application).map(layer),
            // The first artifacts have it as their config.
            0 if manifest.config.media_type == APPLICATION_TYPE => Some(layer(&manifest.config)),
            _ => None,
        };
        let Some(locked) = locked.transpose()? else {
            return Err(refused("it is no Spin application"));
        };
        if locked.bytes > LOCKED_BYTES_MAX {
            let most = LOCKED_BYTES_MAX >> 20;
            return Err(refused(format!(
                "its locked application has more than {most} MiB"
            )));
        }
        let digest = locked.digest.clone();
        layers.push(locked);
        layers.sort_by(|one, other| one.digest.cmp(&other.digest));
        layers.dedup_by(|one, other| one.digest == other.digest);
        // Each is at most 256 MiB and there are at most 501: it does not overflow.
        if layers.iter().map(|layer| layer.bytes).sum::<u64>() > APPLICATION_BYTES_MAX {
            let most = APPLICATION_BYTES_MAX >> 20;
            return Err(refused(format!("its layers have more than {most} MiB")));
        }
        Ok(Self {
            digest: Digest::of(bytes),
            layers,
            locked: digest,
            created: manifest.annotations.and_then(|mut all| all.remove(CREATED)),
        })
    }
}

fn layer(descriptor: &OciDescriptor) -> Result<Layer, RegistryError> {
    let digest = Digest::parse(&descriptor.digest)
        .ok_or_else(|| refused(format!("{:?} is no digest of SHA-256", descriptor.digest)))?;
    let bytes = u64::try_from(descriptor.size).ok();
    let bytes = bytes
        .filter(|bytes| *bytes <= BLOB_BYTES_MAX)
        .ok_or_else(|| {
            let (size, most) = (descriptor.size, BLOB_BYTES_MAX);
            refused(format!(
                "{digest} has {size} bytes; at most {most} are read"
            ))
        })?;
    Ok(Layer {
        digest,
        bytes,
        is_archive: descriptor.media_type == ARCHIVE_TYPE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn manifest() -> Value {
        let layer = |kind: &str, text: &str| {
            json!({ "mediaType": kind, "size": text.len(),
                "digest": Digest::of(text.as_bytes()).as_str() })
        };
        json!({
            "schemaVersion": 2,
            "config": layer("application/vnd.oci.image.config.v1+json", "config"),
            "layers": [layer(WASM_TYPE, "wasm"), layer(ARCHIVE_TYPE, "archive"),
                layer(WASM_TYPE, "wasm"), layer(APPLICATION_TYPE, "locked")],
            "annotations": { CREATED: "2026-01-01T00:00:00Z" },
        })
    }

    #[test]
    fn a_manifest_names_each_layer_once() {
        let text = manifest().to_string();
        let artifact = Artifact::read(text.as_bytes()).unwrap();
        assert_eq!(artifact.digest, Digest::of(text.as_bytes()));
        assert_eq!(artifact.layers.len(), 3);
        assert_eq!(artifact.layers.iter().filter(|l| l.is_archive).count(), 1);
        assert_eq!(artifact.locked, Digest::of(b"locked"));
        assert_eq!(artifact.created.as_deref(), Some("2026-01-01T00:00:00Z"));
        let mut old = manifest();
        old["config"] = old["layers"][3].take();
        old["layers"].as_array_mut().unwrap().pop();
        let artifact = Artifact::read(old.to_string().as_bytes()).unwrap();
        assert_eq!(artifact.locked, Digest::of(b"locked"));
    }

    #[test]
    fn what_is_no_bounded_application_is_refused() {
        let check = |change: &dyn Fn(&mut Value), words: &str| {
            let mut changed = manifest();
            change(&mut changed);
            let error = Artifact::read(changed.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        };
        check(&|m| *m = json!("text"), "no image manifest");
        check(&|m| m["schemaVersion"] = json!(1), "schemaVersion");
        check(
            &|m| m["layers"][3]["mediaType"] = json!(WASM_TYPE),
            "no Spin application",
        );
        check(
            &|m| m["layers"][0]["mediaType"] = json!(APPLICATION_TYPE),
            "no Spin application",
        );
        for digest in ["sha256:../../../../etc/passwd", "md5:00", ""] {
            check(&|m| m["layers"][0]["digest"] = json!(digest), "no digest");
        }
        check(&|m| m["layers"][0]["size"] = json!(-1), "-1 bytes");
        check(
            &|m| m["layers"][0]["size"] = json!(BLOB_BYTES_MAX + 1),
            "are read",
        );
        check(
            &|m| m["layers"][3]["size"] = json!(BLOB_BYTES_MAX),
            "locked application has",
        );
        let many = |count: usize, size: u64| {
            move |m: &mut Value| {
                let layer = |n: usize| {
                    json!({ "mediaType": DATA_TYPE, "size": size,
                        "digest": Digest::of(&n.to_le_bytes()).as_str() })
                };
                let all = m["layers"].as_array_mut().unwrap();
                all.extend((0..count).map(layer));
            }
        };
        check(&many(5, BLOB_BYTES_MAX), "its layers have more");
        check(&many(LAYERS_MAX, 1), "more than 500 layers");
    }
}
