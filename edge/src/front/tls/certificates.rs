//! The operator's certificates: chosen by the name that a client asks for (SNI), and read
//! again when their files change.
//!
//! It does NOT know which protocols are spoken over them.

use crate::metrics::Metrics;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// How often the files are looked at.
pub(crate) const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// The protocol in which an authority asks for a proof (RFC 8737 §6.2).
pub(super) const PROOF_ALPN: &[u8] = b"acme-tls/1";

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The chain in PEM, its own certificate first.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A chain and its key, ready to sign with.
#[derive(Debug)]
pub(super) struct Certificate(Arc<CertifiedKey>);

impl Certificate {
    /// Reads a chain and its key, and sees that they fit.
    pub(super) fn load(files: &CertificateFiles) -> Result<Self, String> {
        let of =
            |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| of(&files.certificate, &error))?;
        let first = chain
            .first()
            .ok_or_else(|| of(&files.certificate, &"has no certificate"))?;
        webpki::EndEntityCert::try_from(first).map_err(|error| of(&files.certificate, &error))?;
        let key =
            PrivateKeyDer::from_pem_file(&files.key).map_err(|error| of(&files.key, &error))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map(|key| Self(Arc::new(key)))
            .map_err(|error| of(&files.key, &error))
    }

    /// Does it name this host, by itself or by a wildcard?
    fn names(&self, host: &ServerName<'_>) -> bool {
        let first = self.0.cert.first();
        let parsed = first.and_then(|first| webpki::EndEntityCert::try_from(first).ok());
        parsed.is_some_and(|own| own.verify_is_valid_for_subject_name(host).is_ok())
    }
}

/// All certificates of one front door. Read for every handshake, replaced as a whole.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Vec<CertificateFiles>,
    current: RwLock<Arc<[Certificate]>>,
    /// The one that was got by ACME; it comes before the others.
    got: RwLock<Option<Certificate>>,
    /// By name, what an authority that asks for a proof is shown.
    proofs: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
    proves: AtomicBool,
}

impl Certificates {
    /// Reads all of them; the first is shown to clients that ask for no name, or for one
    /// that no certificate has.
    pub(crate) fn load(files: Vec<CertificateFiles>) -> Result<Arc<Self>, String> {
        let current = RwLock::new(read_all(&files)?);
        Ok(Arc::new(Self {
            files,
            current,
            got: RwLock::default(),
            proofs: Mutex::default(),
            proves: AtomicBool::new(false),
        }))
    }

    /// From now on the protocol is spoken in which an authority asks for a proof.
    pub(crate) fn prove_by_alpn(&self) {
        self.proves.store(true, Relaxed);
    }

    pub(super) fn proves(&self) -> bool {
        self.proves.load(Relaxed)
    }

    /// Shows the certificate in `files`, if it names all `domains`; returns its DER.
    pub(crate) fn show(
        &self,
        files: &CertificateFiles,
        domains: &[String],
    ) -> Result<Vec<u8>, String> {
        let certificate = Certificate::load(files)?;
        for domain in domains {
            let host = ServerName::try_from(domain.as_str()).map_err(|e| e.to_string())?;
            if !certificate.names(&host) {
                return Err(format!("it does not name {domain:?}"));
            }
        }
        let der = certificate.0.cert.first().map(|first| first.to_vec());
        *self.got.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
        Ok(der.unwrap_or_default())
    }

    /// Shows an authority that asks for `name` what proves that its order came from here
    /// (RFC 8737 §3), as long as what is returned is kept.
    pub(crate) fn show_proof(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Proof, String> {
        let proof = proof(name, digest).map_err(|error| error.to_string())?;
        let name = name.to_ascii_lowercase();
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(name.clone(), Arc::new(proof));
        Ok(Proof {
            name,
            certificates: Arc::clone(self),
        })
    }

    pub(crate) fn files(&self) -> &[CertificateFiles] {
        &self.files
    }

    /// Reads all files again. If one is wrong, what was read before stays.
    fn reload(&self) -> Result<(), String> {
        let fresh = read_all(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn choose(&self, asked: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let host = asked.and_then(|name| ServerName::try_from(name).ok());
        let got = self.got.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = got.iter().chain(current.iter());
        let first = all.clone().next();
        let named = host.and_then(|host| all.find(|each| each.names(&host)));
        named.or(first).map(|each| Arc::clone(&each.0))
    }

    /// What tells that a file changed, also one behind a link that was turned.
    fn stamp(&self) -> Vec<Option<(SystemTime, u64)>> {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let paths = self.files.iter().flat_map(|f| [&f.certificate, &f.key]);
        paths.map(stamp).collect()
    }

    /// Looks at the files until the last connection's acceptor is gone.
    pub(crate) fn watch(self: &Arc<Self>, every: Duration, metrics: &Arc<Metrics>) {
        let watched = Arc::downgrade(self);
        let metrics = Arc::clone(metrics);
        let mut seen = self.stamp();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(certificates) = watched.upgrade() else {
                    return;
                };
                let looked = tokio::task::spawn_blocking(move || {
                    let now = certificates.stamp();
                    if now == seen {
                        return (now, None);
                    }
                    (now, Some(certificates.reload()))
                });
                let Ok((now, outcome)) = looked.await else {
                    return;
                };
                seen = now;
                match outcome {
                    None => {}
                    Some(Ok(())) => {
                        metrics.certificates("ok");
                        tracing::info!("certificates were read again");
                    }
                    // A pair that is half written is whole at one of the next looks.
                    Some(Err(error)) => {
                        metrics.certificates("error");
                        tracing::error!(error, "the certificates read before are kept");
                    }
                }
            }
        });
    }
}

fn read_all(files: &[CertificateFiles]) -> Result<Arc<[Certificate]>, String> {
    files.iter().map(Certificate::load).collect()
}

/// The certificate that proves an order, signed by itself.
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, Box<dyn std::error::Error>> {
    if digest.len() != 32 {
        return Err("a digest of SHA-256 has 32 bytes".into());
    }
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()])?;
    let extension = rcgen::CustomExtension::new_acme_identifier(digest);
    params.custom_extensions = vec![extension];
    let key = rcgen::KeyPair::generate()?;
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    // Nobody but the authority reads it: webpki refuses its critical extension.
    let key = ring::sign::any_supported_type(&key)?;
    Ok(CertifiedKey::new(chain, key))
}

/// A proof that is shown as long as this is kept.
pub(crate) struct Proof {
    name: String,
    certificates: Arc<Certificates>,
}

impl Drop for Proof {
    fn drop(&mut self) {
        let proofs = self.certificates.proofs.lock();
        let mut proofs = proofs.unwrap_or_else(PoisonError::into_inner);
        proofs.remove(&self.name);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten();
        if self.proves() && offered.any(|protocol| protocol == PROOF_ALPN) {
            let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
            let name = hello.server_name()?.to_ascii_lowercase();
            return proofs.get(&name).cloned();
        }
        self.choose(hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a certificate for `name` and its key.
    fn make(folder: &Path, name: &str) -> CertificateFiles {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let at = |kind: &str| folder.join(format!("{}.{kind}", name.replace('*', "any")));
        let files = CertificateFiles {
            certificate: at("pem"),
            key: at("key"),
        };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    fn leaf(certificates: &Certificates, asked: Option<&str>) -> Vec<u8> {
        certificates.choose(asked).unwrap().cert[0].to_vec()
    }

    #[test]
    fn a_name_has_its_certificate_and_an_unknown_one_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["first.test", "second.test", "*.many.test"];
        let files: Vec<_> = names.map(|name| make(folder.path(), name)).into();
        let of = |n: usize| {
            CertificateDer::from_pem_file(&files[n].certificate)
                .unwrap()
                .to_vec()
        };
        let certificates = Certificates::load(files.clone()).unwrap();
        for (asked, n) in [
            (None, 0),
            (Some("first.test"), 0),
            (Some("second.test"), 1),
            (Some("SECOND.test"), 1),
            (Some("a.many.test"), 2),
            (Some("a.b.many.test"), 0),
            (Some("elsewhere.test"), 0),
        ] {
            assert!(leaf(&certificates, asked) == of(n), "{asked:?}");
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = make(folder.path(), "a.test");
        let certificates = Certificates::load(vec![files.clone()]).unwrap();
        let metrics = Arc::new(Metrics::default());
        certificates.watch(Duration::from_millis(20), &metrics);
        let first = leaf(&certificates, None);

        std::fs::write(&files.key, "broken").unwrap();
        waited_for(&metrics, "edge_certificates_read_total{outcome=\"error\"} ").await;
        assert_eq!(leaf(&certificates, None), first, "the old one is kept");

        make(folder.path(), "a.test");
        waited_for(&metrics, "edge_certificates_read_total{outcome=\"ok\"} ").await;
        assert_ne!(leaf(&certificates, None), first);
    }

    async fn waited_for(metrics: &Metrics, line: &str) {
        let there = async {
            while !metrics.text().contains(line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), there).await;
        assert!(waited.is_ok(), "no {line}");
    }
}
