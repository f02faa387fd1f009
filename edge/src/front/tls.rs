//! TLS 1.3: the operator's certificate, or one made once for this machine and kept.
//!
//! It does NOT know HTTP beyond its names in ALPN.

use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The names in the certificate that is made here.
const SELF_SIGNED_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The self-signed certificate in `state`, made when it is not there.
pub(crate) fn self_signed(state: &Path) -> Result<CertificateFiles, String> {
    let folder = state.join("tls");
    let files = CertificateFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    if files.certificate.is_file() && files.key.is_file() {
        return Ok(files);
    }
    private_folder(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names: Vec<String> = SELF_SIGNED_NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    let made = generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    write_private(&files.key, made.signing_key.serialize_pem().as_bytes())
        .and_then(|()| write_private(&files.certificate, made.cert.pem().as_bytes()))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(files)
}

/// Makes a folder that only its owner may enter.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads the files and makes what accepts connections with them.
pub(crate) fn acceptor(files: &CertificateFiles) -> Result<TlsAcceptor, String> {
    let of = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of(&files.certificate, &error))?;
    if certificates.is_empty() {
        return Err(of(&files.certificate, &"has no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| of(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| of(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_certificate_is_made_once_and_kept_private() {
        let state = tempfile::tempdir().unwrap();
        let files = self_signed(state.path()).unwrap();
        let first = std::fs::read(&files.certificate).unwrap();
        self_signed(state.path()).unwrap();
        assert_eq!(std::fs::read(&files.certificate).unwrap(), first);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&files.key), 0o600);
        assert_eq!(mode(files.key.parent().unwrap()), 0o700);
        acceptor(&files).unwrap();
    }

    #[test]
    fn a_bad_certificate_is_refused_by_name() {
        let state = tempfile::tempdir().unwrap();
        let mut files = self_signed(state.path()).unwrap();
        let other = tempfile::tempdir().unwrap();
        files.key = self_signed(other.path()).unwrap().key;
        assert!(acceptor(&files).is_err(), "the key of another certificate");
        files.certificate = state.path().join("absent.pem");
        assert!(acceptor(&files).err().unwrap().contains("absent.pem"));
    }
}
