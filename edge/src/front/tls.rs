//! TLS: which versions, whose certificates, which protocols are spoken over it, and whether
//! a client has to show a certificate of its own.
//!
//! It does NOT know HTTP beyond its names in ALPN.

mod certificates;
mod self_signed;

use certificates::PROOF_ALPN;
pub(crate) use certificates::{CertificateFiles, Certificates, LOOKED_AT_EVERY};
pub(crate) use self_signed::self_signed;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What a front door says over TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) certificates: Arc<Certificates>,
    /// TLS 1.2 is spoken too.
    pub(crate) takes_1_2: bool,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    /// `client_ca`: the authorities (PEM) of whose certificates every client must have one.
    ///
    /// # Errors
    /// A file is absent or wrong.
    pub(crate) fn new(
        files: Vec<CertificateFiles>,
        takes_1_2: bool,
        client_ca: Option<&Path>,
    ) -> Result<Self, String> {
        Ok(Self {
            certificates: Certificates::load(files)?,
            takes_1_2,
            clients: client_ca.map(client_verifier).transpose()?,
        })
    }

    /// For connections over TCP.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let versions: &[&SupportedProtocolVersion] = match self.takes_1_2 {
            true => &[&version::TLS13, &version::TLS12],
            false => &[&version::TLS13],
        };
        let mut config = self.config(versions, &[b"h2", b"http/1.1"])?;
        if self.certificates.proves() {
            config.alpn_protocols.push(PROOF_ALPN.to_vec());
        }
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// For connections over QUIC, which speaks TLS 1.3 alone.
    pub(crate) fn for_quic(&self) -> Result<ServerConfig, String> {
        self.config(&[&version::TLS13], &[b"h3"])
    }

    fn config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Result<ServerConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let builder = match &self.clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.certificates) as _);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path)?), provider)
        .build()
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The certificates of authorities in a PEM file.
///
/// # Errors
/// It cannot be read, or has none.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let of = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| of(&e))? {
        let certificate = certificate.map_err(|e| of(&e))?;
        roots.add(certificate).map_err(|e| of(&e))?;
    }
    match roots.is_empty() {
        true => Err(of(&"has no certificate")),
        false => Ok(roots),
    }
}

/// Was all that was wanted of a connection its handshake? So asks an authority for a proof.
pub(super) fn is_proof<S>(stream: &tokio_rustls::server::TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(PROOF_ALPN)
}

/// A name in the certificate by which a client may call `host`: `host` itself if it is
/// there, else the first one that names a single host.
pub(crate) fn name_for(files: &CertificateFiles, host: &str) -> Option<String> {
    let certificate = CertificateDer::from_pem_file(&files.certificate).ok()?;
    let certificate = webpki::EndEntityCert::try_from(&certificate).ok()?;
    let asked = ServerName::try_from(host).ok()?;
    if certificate.verify_is_valid_for_subject_name(&asked).is_ok() {
        return Some(host.to_owned());
    }
    let mut names = certificate.valid_dns_names();
    names.find(|name| !name.contains('*')).map(str::to_owned)
}
