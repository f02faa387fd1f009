//! The client that neither wrk nor h2load of Debian is: as many requests over HTTP/3 as are
//! answered, on one connection.
//!
//! Takes any certificate. Prints how many answers came; one that is not 200 is an error.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bench::asked::Asked;
use bytes::{Buf as _, Bytes};
use clap::Parser;
use futures::future::try_join_all;
use h3::client::SendRequest;
use http::{Request, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::time::Instant;

#[derive(Debug, Parser)]
struct Options {
    /// Its URL begins with an address and a port: no name is looked up.
    #[command(flatten)]
    asked: Asked,
    #[arg(long)]
    seconds: f64,
    /// Requests at the same time.
    #[arg(long, default_value_t = 16)]
    streams: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let request = options.asked.request()?;
    let address = options.asked.url.authority();
    let address = address.context("the URL has no address")?;
    let endpoint = endpoint()?;
    let address: SocketAddr = address.as_str().parse()?;
    let connection = endpoint.connect(address, "localhost")?.await?;
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
    let driving = tokio::spawn(async move {
        std::future::poll_fn(|cx| driver.poll_close(cx)).await;
    });
    let end = Instant::now() + Duration::from_secs_f64(options.seconds);
    let clients = (0..options.streams).map(|_| {
        let (mut sender, request) = (sender.clone(), &request);
        async move {
            let mut answers = 0_u64;
            while Instant::now() < end {
                ask(&mut sender, request.clone()).await?;
                answers += 1;
            }
            anyhow::Ok(answers)
        }
    });
    let answers: u64 = try_join_all(clients).await?.iter().sum();
    driving.abort();
    writeln!(std::io::stdout(), "{answers} requests")?;
    Ok(())
}

fn endpoint() -> anyhow::Result<quinn::Endpoint> {
    let provider = Arc::new(ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = QuicClientConfig::try_from(config)?;
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    Ok(endpoint)
}

/// One request, and its answer to the end.
async fn ask(
    sender: &mut SendRequest<h3_quinn::OpenStreams, Bytes>,
    request: Request<Bytes>,
) -> anyhow::Result<()> {
    let (head, body) = request.into_parts();
    let mut stream = sender.send_request(Request::from_parts(head, ())).await?;
    if !body.is_empty() {
        stream.send_data(body).await?;
    }
    stream.finish().await?;
    let status = stream.recv_response().await?.status();
    ensure!(status == StatusCode::OK, "answered {status}");
    while let Some(mut data) = stream.recv_data().await? {
        data.advance(data.remaining());
    }
    Ok(())
}

/// Whoever answers is trusted.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC has TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
