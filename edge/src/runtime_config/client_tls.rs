//! `[[client_tls]]`: with which certificates a component meets a server, and whose
//! certificates it trusts there. Spin's keys.
//!
//! The files are read when the configuration is. It does NOT connect.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    component_ids: Vec<String>,
    hosts: Vec<String>,
    ca_roots_file: Option<PathBuf>,
    /// The roots of this machine besides; on its own where there is no `ca_roots_file`.
    ca_use_webpki_roots: Option<bool>,
    cert_chain_file: Option<PathBuf>,
    private_key_file: Option<PathBuf>,
}

/// TLS of some components towards some hosts.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    written: Written,
    /// `host` or `host:port`, in lower case.
    hosts: Vec<String>,
    pub(crate) config: ClientConfig,
}

/// The same words; the files that they name are read at the start alone.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl ClientTls {
    /// Reads the files, whose relative paths start from `folder`.
    pub(super) fn load(written: Written, folder: &Path) -> Result<Self, String> {
        if written.component_ids.is_empty() || written.hosts.is_empty() {
            return Err("`component_ids` and `hosts` must name somebody".to_owned());
        }
        let roots = roots(&written, folder)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match (&written.cert_chain_file, &written.private_key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(chain), Some(key)) => {
                let (chain, key) = (folder.join(chain), folder.join(key));
                let of = |path: &Path, error: &dyn std::fmt::Display| {
                    format!("{}: {error}", path.display())
                };
                let certificates = CertificateDer::pem_file_iter(&chain)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| of(&chain, &error))?;
                let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| of(&key, &e))?;
                builder
                    .with_client_auth_cert(certificates, private)
                    .map_err(|error| of(&chain, &error))?
            }
            _ => {
                return Err("`cert_chain_file` and `private_key_file` go together".to_owned());
            }
        };
        let lower = |host: &String| host.to_ascii_lowercase();
        Ok(Self {
            hosts: written.hosts.iter().map(lower).collect(),
            written,
            config,
        })
    }

    /// Is it for this component's requests to that host?
    pub(crate) fn is_for(&self, component: &str, host: &str, port: u16) -> bool {
        let named = |each: &String| {
            each == host
                || each
                    .strip_prefix(host)
                    .and_then(|rest| rest.strip_prefix(':'))
                    .is_some_and(|written| written == port.to_string())
        };
        self.written.component_ids.iter().any(|id| id == component) && self.hosts.iter().any(named)
    }
}

fn roots(written: &Written, folder: &Path) -> Result<RootCertStore, String> {
    let mut roots = match &written.ca_roots_file {
        Some(file) => crate::front::tls::authorities(&folder.join(file))?,
        None => RootCertStore::empty(),
    };
    // Spin's default: the public roots, unless there are others.
    let public = written.ca_use_webpki_roots;
    if public.unwrap_or(written.ca_roots_file.is_none()) {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, folder: &Path) -> Result<ClientTls, String> {
        let written = toml::from_str(text).map_err(|error| error.to_string())?;
        ClientTls::load(written, folder)
    }

    #[test]
    fn it_is_for_its_components_and_hosts() {
        let text = "component_ids = [\"a\"]\nhosts = [\"Region.test\", \"other.test:8443\"]\n";
        let tls = load(text, Path::new(".")).unwrap();
        assert!(tls.is_for("a", "region.test", 443));
        assert!(tls.is_for("a", "other.test", 8443));
        assert!(!tls.is_for("a", "other.test", 443));
        assert!(!tls.is_for("b", "region.test", 443));
        assert!(!tls.is_for("a", "region.test.evil", 443));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let who = "component_ids = [\"a\"]\nhosts = [\"b\"]\n";
        let error = |more: &str| load(&format!("{who}{more}"), folder.path()).unwrap_err();
        assert!(error("ca_roots_file = \"absent.pem\"").contains("absent.pem"));
        assert!(error("cert_chain_file = \"a.pem\"").contains("`private_key_file`"));
        assert!(error("certificate = \"a.pem\"").contains("cert_chain_file"));
        std::fs::write(folder.path().join("empty.pem"), "").unwrap();
        assert!(error("ca_roots_file = \"empty.pem\"").contains("has no certificate"));
        assert!(load("component_ids = []\nhosts = [\"b\"]\n", folder.path()).is_err());
    }
}
