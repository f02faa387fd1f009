//! What was pulled, kept under its digest, so that it is fetched once.
//!
//! Invariant: a file in `blobs` is used only after its digest was looked at. It does NOT
//! know what a blob is for.

use super::RegistryError;
use super::digest::Digest;
use crate::private;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

/// The order of files below an application's folder: another one is another name.
const LAYOUT: &str = "applications-1";

/// The folder of what was pulled.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// A blob on its way into the cache.
pub(super) struct Incoming {
    file: NamedTempFile,
    hasher: Sha256,
    pub(super) bytes: u64,
}

impl Cache {
    /// Opens the cache at `folder`, which others may not enter: what lies there is run.
    pub(super) fn open(folder: &Path) -> Result<Self, RegistryError> {
        let cache = Self {
            folder: std::path::absolute(folder)?,
        };
        private::folder(&cache.folder)?;
        for below in ["blobs", LAYOUT] {
            std::fs::create_dir_all(cache.folder.join(below))?;
        }
        Ok(cache)
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.name())
    }

    /// Is the blob here, unchanged? One that was changed is removed.
    pub(super) fn holds(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let path = self.path(digest);
        if !path.is_file() {
            return Ok(false);
        }
        if Digest::of_file(&path)? == *digest {
            return Ok(true);
        }
        tracing::warn!(path = %path.display(), "a kept blob has changed; fetching it again");
        std::fs::remove_file(&path)?;
        Ok(false)
    }

    pub(super) fn incoming(&self) -> Result<Incoming, RegistryError> {
        Ok(Incoming {
            file: NamedTempFile::new_in(self.folder.join("blobs"))?,
            hasher: Sha256::new(),
            bytes: 0,
        })
    }

    /// Keeps a blob under the digest that it has.
    pub(super) fn keep(&self, blob: Incoming) -> Result<(), RegistryError> {
        let path = self.path(&blob.digest());
        blob.file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Where the application of this manifest is laid out, or will be.
    pub(super) fn application(&self, digest: &Digest) -> PathBuf {
        self.folder.join(LAYOUT).join(digest.name())
    }

    /// A folder to lay an application out in; it is gone unless it is kept.
    pub(super) fn staging(&self) -> Result<TempDir, RegistryError> {
        Ok(TempDir::new_in(self.folder.join(LAYOUT))?)
    }

    /// Puts the whole of `staging` where the application belongs. Where another process was
    /// faster, its folder stays: it has the same content, and may be in use.
    pub(super) fn keep_application(
        &self,
        staging: TempDir,
        digest: &Digest,
    ) -> Result<PathBuf, RegistryError> {
        let place = self.application(digest);
        match std::fs::rename(staging.path(), &place) {
            Ok(()) => drop(staging.keep()),
            Err(_) if place.is_dir() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(place)
    }
}

impl Incoming {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(self.file.write_all(bytes)?)
    }

    /// The digest of what was written so far.
    pub(super) fn digest(&self) -> Digest {
        Digest::finish(self.hasher.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_was_changed_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let digest = Digest::of(b"bytes");
        assert!(!cache.holds(&digest).unwrap());
        let mut incoming = cache.incoming().unwrap();
        incoming.write(b"by").unwrap();
        incoming.write(b"tes").unwrap();
        assert_eq!((incoming.digest(), incoming.bytes), (digest.clone(), 5));
        cache.keep(incoming).unwrap();
        assert!(cache.holds(&digest).unwrap());
        std::fs::write(cache.path(&digest), b"bytez").unwrap();
        assert!(!cache.holds(&digest).unwrap());
        assert!(!cache.path(&digest).exists());
    }
}
