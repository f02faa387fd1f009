//! Certificates by ACME, from Pebble, the test authority of Let's Encrypt.

use crate::harness::{Edge, one, until, write};
use crate::ports::free_port;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAME: &str = "chat.skerry.test";

/// A running authority, which asks for proofs at one port of this machine.
struct Pebble {
    folder: tempfile::TempDir,
    children: Vec<Child>,
    port: u16,
    proof_port: u16,
    valid_s: u32,
}

impl Pebble {
    /// An authority that does not run yet, whose certificates hold so long.
    fn new(proof_port: u16, valid_s: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), own.cert.pem()).unwrap();
        let key = own.signing_key.serialize_pem();
        std::fs::write(folder.path().join("key.pem"), key).unwrap();
        Self {
            folder,
            children: Vec::new(),
            port: free_port(),
            proof_port,
            valid_s,
        }
    }

    fn start(&mut self) {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let (port, management) = (self.port, free_port());
        let config = format!(
            "{{\"pebble\": {{\"listenAddress\": \"127.0.0.1:{port}\", \
             \"managementListenAddress\": \"127.0.0.1:{management}\", \
             \"certificate\": {:?}, \"privateKey\": {:?}, \"httpPort\": 1, \"tlsPort\": {}, \
             \"ocspResponderURL\": \"\", \"externalAccountBindingRequired\": false, \
             \"certificateValidityPeriod\": {}, \"retryAfter\": {{\"authz\": 1, \"order\": 1}}}}}}",
            at("ca.pem"),
            at("key.pem"),
            self.proof_port,
            self.valid_s,
        );
        std::fs::write(at("pebble.json"), config).unwrap();
        // Every name leads to this machine.
        let (dns, control) = (free_port(), free_port());
        let mut names = Command::new("pebble-challtestsrv");
        names
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"])
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .args(["-management", &format!("127.0.0.1:{control}")]);
        let mut authority = Command::new("pebble");
        authority
            .args(["-config", &at("pebble.json")])
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "20")
            .env("PEBBLE_AUTHZREUSE", "0");
        for command in [&mut names, &mut authority] {
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
            let child = quiet.stderr(Stdio::null()).spawn();
            assert!(
                child.is_ok(),
                "pebble does not start; `tests/run setup` installs it: {child:?}"
            );
            self.children.push(child.unwrap());
        }
        for port in [control, self.port] {
            let end = Instant::now() + Duration::from_secs(30);
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < end, "pebble does not listen at {port}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts `edge` with this authority, to be reached at `listen`.
    fn edge(&self, folder: &Path, listen: u16) -> Edge {
        let directory = format!("https://localhost:{}/dir", self.port);
        let ca = self.folder.path().join("ca.pem").display().to_string();
        let listen = format!("127.0.0.1:{listen}");
        let own = [
            "--listen",
            &listen,
            "--acme-domain",
            NAME,
            "--acme-directory",
            &directory,
            "--acme-ca",
            &ca,
            "--acme-contact",
            "me@skerry.test",
            "--limit",
            "acme-retry-ms=500",
        ];
        write(&one(""), folder);
        Edge::launch(folder, &own).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Believes everything: what is shown is what is asked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The chain that is shown to who asks for `name`; `None` where the handshake fails.
async fn shown(port: u16, name: &str, alpn: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = connector.connect(name, stream).await.ok()?;
    let chain = stream.get_ref().1.peer_certificates()?;
    Some(chain.iter().map(|each| each.to_vec()).collect())
}

async fn orders(edge: &Edge, outcome: &str) -> usize {
    let name = format!("edge_acme_orders_total{{outcome=\"{outcome}\"}}");
    edge.figure(&name).await as usize
}

fn kept(folder: &Path) -> Vec<PathBuf> {
    let cache = std::fs::read_dir(folder.join(".skerry/acme")).unwrap();
    let folders = cache.map(|entry| entry.unwrap().path());
    folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[tokio::test]
async fn a_certificate_is_got_kept_and_needs_no_network_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let listen = free_port();
    let mut pebble = Pebble::new(listen, 3_600);
    // The directory is down at first.
    let edge = pebble.edge(folder.path(), listen);
    until("a first failure", || async {
        orders(&edge, "error").await > 0
    })
    .await;
    let own = shown(listen, NAME, &[]).await.unwrap();
    assert_eq!(own.len(), 1, "the self-signed one");
    assert!(
        edge.figure("edge_acme_certificate_expiry_timestamp_seconds")
            .await
            < 1.0
    );
    // No proof is shown that nobody asked for.
    assert_eq!(shown(listen, NAME, &[b"acme-tls/1"]).await, None);
    pebble.start();
    until("an order", || async { orders(&edge, "ok").await == 1 }).await;
    let got = shown(listen, NAME, &[]).await.unwrap();
    assert_ne!(got[0], own[0]);
    assert!(got.len() > 1, "its authority's comes with it");
    assert!(
        edge.figure("edge_acme_certificate_expiry_timestamp_seconds")
            .await
            > 1.0
    );
    assert_eq!(shown(listen, NAME, &[b"acme-tls/1"]).await, None);
    let files = kept(folder.path());
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file:?}");
    }
    drop(edge);
    pebble.stop();
    let edge = pebble.edge(folder.path(), listen);
    assert_eq!(shown(listen, NAME, &[]).await.unwrap(), got);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(orders(&edge, "error").await, 0, "nobody was asked");
}

#[tokio::test]
async fn a_certificate_is_renewed_while_the_old_one_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let listen = free_port();
    let mut pebble = Pebble::new(listen, 12);
    pebble.start();
    let edge = pebble.edge(folder.path(), listen);
    until("an order", || async { orders(&edge, "ok").await == 1 }).await;
    let first = shown(listen, NAME, &[]).await.unwrap();
    until("a second order", || async {
        orders(&edge, "ok").await >= 2
    })
    .await;
    assert_ne!(shown(listen, NAME, &[]).await.unwrap()[0], first[0]);
    // The authority forgets its accounts; a new one is made.
    pebble.stop();
    pebble.start();
    let before = orders(&edge, "ok").await;
    until("an order of a new account", || async {
        orders(&edge, "ok").await > before
    })
    .await;
}

#[tokio::test]
async fn a_challenge_that_fails_is_tried_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let listen = free_port();
    // It looks for the proof where nobody is.
    let mut pebble = Pebble::new(free_port(), 3_600);
    pebble.start();
    let edge = pebble.edge(folder.path(), listen);
    until("refused orders", || async {
        orders(&edge, "refused").await >= 2
    })
    .await;
    assert_eq!(orders(&edge, "ok").await, 0);
    assert!(shown(listen, NAME, &[]).await.is_some());
    assert_eq!(edge.get("/served").await.0, 200);
}
