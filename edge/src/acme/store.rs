//! What is kept of an authority between starts: the account, and the last certificate with
//! its key in one file, so that a pair is never half written.
//!
//! Each directory has a folder of its own: an account of one is nothing to another.

use super::order::Issued;
use crate::front::tls::CertificateFiles;
use crate::private;
use instant_acme::AccountCredentials;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

pub(super) struct Store(PathBuf);

impl Store {
    pub(super) fn open(cache: &Path, directory: &str) -> Result<Self, String> {
        let digest = Sha256::digest(directory);
        let name: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let folder = cache.join(name);
        private::folder(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Where the certificate is, if there is one.
    pub(super) fn certificate(&self) -> CertificateFiles {
        let file = self.0.join("certificate.pem");
        CertificateFiles {
            certificate: file.clone(),
            key: file,
        }
    }

    pub(super) fn keep_certificate(&self, issued: &Issued) -> Result<(), String> {
        self.write("certificate.pem", issued.0.as_bytes())
    }

    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, String> {
        let path = self.0.join("account.json");
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|e| named(&e)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(&error)),
        }
    }

    pub(super) fn keep_account(&self, credentials: &AccountCredentials) -> Result<(), String> {
        let text = serde_json::to_vec(credentials).map_err(|error| error.to_string())?;
        self.write("account.json", &text)
    }

    /// The next order makes a new one.
    pub(super) fn forget_account(&self) {
        let _ = std::fs::remove_file(self.0.join("account.json"));
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let path = self.0.join(name);
        private::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))
    }
}
