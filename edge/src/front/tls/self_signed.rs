//! The certificate that is made for this machine and kept as long as it will do.
//!
//! It does NOT know what is served with it.

use super::certificates::{Certificate, CertificateFiles};
use crate::private;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What this machine is called by itself.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// How long a certificate that is made here holds: no longer is taken by Apple's systems
/// (support.apple.com/103769).
const VALID: Duration = Duration::from_secs(825 * 24 * 60 * 60);
/// A kept one that ends sooner is made anew. It is looked at when the process starts.
const RENEWED_BEFORE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Clocks of clients may be as much behind.
const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest host name (RFC 1035 §2.3.4), with the byte that ends it.
const HOST_NAME_BYTES_MAX: usize = 256;

/// The self-signed certificate in `state`. It is made when it is not there, does not name
/// the address that is listened on, or will soon be over.
pub(crate) fn self_signed(state: &Path, listen: IpAddr) -> Result<CertificateFiles, String> {
    let folder = state.join("tls");
    let files = CertificateFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    let mut names: Vec<String> = LOCAL_NAMES.map(str::to_owned).into();
    if !listen.is_unspecified() && !names.contains(&listen.to_string()) {
        names.push(listen.to_string());
    }
    let now = UnixTime::now();
    let has_one = files.certificate.exists() || files.key.exists();
    match suits(&files, &names, now) {
        Ok(()) => return Ok(files),
        Err(reason) if has_one => tracing::warn!(
            reason,
            "the kept certificate is made anew; whoever trusted it has to trust the new one"
        ),
        Err(_) => {}
    }
    // By its own name a machine may be called too. It is not needed: where it changes at
    // every start, as in a container, the certificate shall not.
    names.extend(host_name().filter(|name| !LOCAL_NAMES.contains(&name.as_str())));
    private::folder(&folder)
        .map_err(|error| error.to_string())
        .and_then(|()| make(&files, names, now))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(files)
}

/// Does a kept certificate fit its key and name all of `names`, from now on and for long
/// enough? If not, why.
fn suits(files: &CertificateFiles, names: &[String], now: UnixTime) -> Result<(), String> {
    Certificate::load(files)?;
    let certificate = CertificateDer::from_pem_file(&files.certificate)
        .map_err(|error| format!("{}: {error}", files.certificate.display()))?;
    let mut roots = RootCertStore::empty();
    let text = |error: &dyn std::error::Error| error.to_string();
    roots.add(certificate.clone()).map_err(|e| text(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| text(&e))?;
    for name in names {
        let server = ServerName::try_from(name.as_str()).map_err(|e| text(&e))?;
        for at in [now, after(now, RENEWED_BEFORE)] {
            verifier
                .verify_server_cert(&certificate, &[], &server, &[], at)
                .map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

fn after(time: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.as_secs()) + by)
}

/// Makes a key and its certificate. Where it is interrupted between the two, they do not
/// fit, and the next start makes both again.
fn make(files: &CertificateFiles, names: Vec<String>, now: UnixTime) -> Result<(), String> {
    let time = |seconds: u64| {
        let seconds = i64::try_from(seconds).map_err(|error| error.to_string())?;
        time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| error.to_string())
    };
    let mut params = CertificateParams::new(names).map_err(|error| error.to_string())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "edge, self-signed");
    params.not_before = time(now.as_secs().saturating_sub(BACKDATED.as_secs()))?;
    params.not_after = time(after(now, VALID).as_secs())?;
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let made = params
        .self_signed(&key)
        .map_err(|error| error.to_string())?;
    replace_private(&files.key, key.serialize_pem().as_bytes())
        .and_then(|()| replace_private(&files.certificate, made.pem().as_bytes()))
        .map_err(|error| error.to_string())
}

/// The machine's name, if clients could ask for it.
#[expect(unsafe_code, reason = "the name is asked for by a system call")]
fn host_name() -> Option<String> {
    let mut name = [0_u8; HOST_NAME_BYTES_MAX];
    // SAFETY: `gethostname` writes at most as many bytes as it is told that there are.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } != 0;
    if failed {
        return None;
    }
    let name = std::ffi::CStr::from_bytes_until_nul(&name).ok()?;
    let name = name.to_str().ok()?;
    ServerName::try_from(name).ok().map(|_| name.to_owned())
}

/// Replaces a file in one step by one that only its owner may read.
fn replace_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::super::name_for;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn read(files: &CertificateFiles) -> Vec<u8> {
        std::fs::read(&files.certificate).unwrap()
    }

    #[test]
    fn the_certificate_is_made_once_and_kept_private() {
        let state = tempfile::tempdir().unwrap();
        let files = self_signed(state.path(), HERE).unwrap();
        let first = read(&files);
        self_signed(state.path(), HERE).unwrap();
        self_signed(state.path(), "0.0.0.0".parse().unwrap()).unwrap();
        assert_eq!(read(&files), first);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&files.key), 0o600);
        assert_eq!(mode(files.key.parent().unwrap()), 0o700);
        Certificate::load(&files).unwrap();
    }

    #[test]
    fn it_names_the_address_that_is_listened_on() {
        let state = tempfile::tempdir().unwrap();
        let files = self_signed(state.path(), HERE).unwrap();
        let first = read(&files);
        assert_eq!(
            name_for(&files, "192.168.1.5").as_deref(),
            Some("localhost")
        );
        for listen in ["192.168.1.5", "fd00::5"] {
            self_signed(state.path(), listen.parse().unwrap()).unwrap();
            assert_ne!(read(&files), first, "the kept one lacks {listen}");
            for name in ["localhost", "127.0.0.1", "::1", listen] {
                assert_eq!(name_for(&files, name).as_deref(), Some(name));
            }
        }
        let second = read(&files);
        self_signed(state.path(), "fd00::5".parse().unwrap()).unwrap();
        assert_eq!(read(&files), second);
        let own = host_name().unwrap();
        assert_eq!(name_for(&files, &own), Some(own));
    }

    #[test]
    fn one_that_is_almost_over_or_broken_is_made_anew() {
        let state = tempfile::tempdir().unwrap();
        let files = self_signed(state.path(), HERE).unwrap();
        let names = || LOCAL_NAMES.map(str::to_owned).to_vec();
        let now = UnixTime::now();
        let later = VALID - RENEWED_BEFORE + Duration::from_secs(1);
        assert!(suits(&files, &names(), now).is_ok());
        let error = suits(&files, &names(), after(now, later)).unwrap_err();
        assert!(error.contains("expired"), "{error}");

        let old = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) - later);
        make(&files, names(), old).unwrap();
        let before = read(&files);
        self_signed(state.path(), HERE).unwrap();
        assert_ne!(read(&files), before);

        // As after an end between the two files.
        let other = tempfile::tempdir().unwrap();
        let foreign = self_signed(other.path(), HERE).unwrap();
        std::fs::copy(&foreign.key, &files.key).unwrap();
        self_signed(state.path(), HERE).unwrap();
        Certificate::load(&files).unwrap();
    }

    #[test]
    fn a_bad_certificate_is_refused_by_name() {
        let state = tempfile::tempdir().unwrap();
        let mut files = self_signed(state.path(), HERE).unwrap();
        let other = tempfile::tempdir().unwrap();
        files.key = self_signed(other.path(), HERE).unwrap().key;
        assert!(
            Certificate::load(&files).is_err(),
            "the key of another certificate"
        );
        files.certificate = state.path().join("absent.pem");
        assert!(
            Certificate::load(&files)
                .err()
                .unwrap()
                .contains("absent.pem")
        );
    }
}
