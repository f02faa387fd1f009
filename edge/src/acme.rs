//! Certificates by ACME (RFC 8555): ordered at a first start, kept, and renewed while the
//! process serves.
//!
//! Requests never wait for an authority: what the front door shows meanwhile is what it has.
//! It does NOT know TLS or HTTP.

mod order;
mod store;
mod validity;

use crate::front::tls::Certificates;
use crate::metrics::Metrics;
use crate::private;
use order::{Authority, OrderError, Wanted};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio_util::task::AbortOnDropHandle;
use validity::Validity;

/// The longest wait after a failure: an authority forgives failures by the hour
/// (letsencrypt.org/docs/rate-limits).
const RETRY_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// How long an order may take in all.
const ORDER_TIME_MAX: Duration = Duration::from_secs(600);
/// The longest sleep at once: the clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// What the operator said.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AcmeOptions {
    /// Get a certificate for this name by ACME; may be given more than once. The authority
    /// connects to port 443 of the name, which must lead to --listen. This agrees to the
    /// authority's terms.
    #[arg(long = "acme-domain", value_name = "NAME", value_parser = domain,
          conflicts_with_all = ["no_https", "tls_client_ca"])]
    pub(crate) domains: Vec<String>,
    /// The authority's directory.
    #[arg(long = "acme-directory", value_name = "URL", value_parser = directory,
          default_value = "https://acme-v02.api.letsencrypt.org/directory")]
    directory: String,
    /// An e-mail address for the authority.
    #[arg(long = "acme-contact", value_name = "ADDRESS", requires = "domains", value_parser = contact)]
    contacts: Vec<String>,
    /// Where the account and the certificate are kept. [default: acme in the state folder]
    #[arg(long = "acme-cache", value_name = "DIR", requires = "domains")]
    cache: Option<PathBuf>,
    /// The authorities (PEM) that the directory's own certificate is from, in place of those
    /// that this machine trusts.
    #[arg(long = "acme-ca", value_name = "FILE", requires = "domains")]
    ca: Option<PathBuf>,
}

/// A name that tls-alpn-01 can prove: no wildcard and no address (RFC 8737 §3).
fn domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-')
    };
    let is_name = text.len() <= 253 && text.split('.').all(label);
    if !is_name || text.parse::<std::net::IpAddr>().is_ok() {
        return Err("expected the name of a host, without a wildcard".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

fn directory(text: &str) -> Result<String, String> {
    let uri = text.parse::<http::Uri>().ok();
    match uri.is_some_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some()) {
        true => Ok(text.to_owned()),
        false => Err("expected https://HOST/PATH".to_owned()),
    }
}

fn contact(text: &str) -> Result<String, String> {
    match text.trim_start_matches("mailto:").split_once('@') {
        Some((user, host)) if !user.is_empty() && !host.is_empty() => {
            Ok(format!("mailto:{}", text.trim_start_matches("mailto:")))
        }
        _ => Err("expected an e-mail address".to_owned()),
    }
}

/// The certificate of one front door, kept new.
pub(crate) struct Acme {
    wanted: Wanted,
    authority: Authority,
    store: Store,
    certificates: Arc<Certificates>,
    metrics: Arc<Metrics>,
    /// The first wait after a failure.
    retry_wait: Duration,
}

impl Acme {
    /// Shows the certificate that is kept, if there is one; needs no network.
    ///
    /// # Errors
    /// A file or folder that the options name is wrong.
    pub(crate) fn prepare(
        options: &AcmeOptions,
        state: &Path,
        retry_wait: Duration,
        certificates: &Arc<Certificates>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let cache = options.cache.clone().unwrap_or_else(|| state.join("acme"));
        private::folder(&cache).map_err(|e| format!("--acme-cache {}: {e}", cache.display()))?;
        let acme = Self {
            wanted: Wanted {
                domains: options.domains.clone(),
                directory: options.directory.clone(),
                contacts: options.contacts.clone(),
            },
            authority: Authority::new(options.ca.as_deref())?,
            store: Store::open(&cache, &options.directory)?,
            certificates: Arc::clone(certificates),
            metrics: Arc::clone(metrics),
            retry_wait,
        };
        acme.certificates.prove_by_alpn();
        if acme.store.certificate().certificate.exists()
            && let Err(error) = acme.show()
        {
            tracing::warn!(error, "the certificate that was kept will not do");
        }
        Ok(acme)
    }

    /// Shows the certificate that is kept; says how long it holds.
    fn show(&self) -> Result<Validity, String> {
        let shown = self
            .certificates
            .show(&self.store.certificate(), &self.wanted.domains)?;
        let validity = Validity::of(&shown).ok_or("its dates cannot be read")?;
        let expiry = validity.not_after.duration_since(UNIX_EPOCH);
        let expiry = expiry.unwrap_or_default().as_secs();
        let expiry = i64::try_from(expiry).unwrap_or(i64::MAX);
        self.metrics.acme_expiry.store(expiry, Relaxed);
        Ok(validity)
    }

    /// Orders and renews until what is returned is dropped.
    pub(crate) fn start(self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move { self.run().await }))
    }

    async fn run(self) {
        let mut wait = self.retry_wait;
        loop {
            if let Ok(validity) = self.show() {
                // Many processes that started together do not come back together.
                let spread = jitter(validity.life() / 50);
                sleep_until(validity.renewed_at() + spread).await;
            }
            let ordered = async {
                let (wanted, store) = (&self.wanted, &self.store);
                let issued = order::order(wanted, &self.authority, store, &self.certificates);
                store.keep_certificate(&issued.await?)?;
                Ok(self.show()?)
            };
            let outcome = tokio::time::timeout(ORDER_TIME_MAX, ordered).await;
            match outcome.unwrap_or_else(|_| Err(OrderError::Failed("it took too long".to_owned())))
            {
                Ok(validity) => {
                    wait = self.retry_wait;
                    self.metrics.acme_order("ok");
                    let domains = self.wanted.domains.join(", ");
                    let days = validity.life().as_secs() / 86_400;
                    tracing::info!(domains, days, "got a certificate");
                }
                Err(error) => {
                    self.metrics.acme_order(error.outcome());
                    let again = wait + jitter(wait / 5);
                    let again_s = again.as_secs();
                    tracing::error!(%error, again_s, "got no certificate");
                    tokio::time::sleep(again).await;
                    wait = (wait * 2).min(RETRY_WAIT_MAX.max(self.retry_wait));
                }
            }
        }
    }
}

async fn sleep_until(time: SystemTime) {
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        // Never less than the timer's tick.
        let left = left.clamp(Duration::from_millis(1), SLEEP_MAX);
        tokio::time::sleep(left).await;
    }
}

/// A random time below `most`.
fn jitter(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness there is no spread, which harms nobody.
    let _ = SystemRandom::new().fill(&mut bytes);
    most.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_that_can_be_proven() {
        assert_eq!(domain("Chat.Example.org").unwrap(), "chat.example.org");
        for wrong in [
            "*.example.org",
            "10.0.0.1",
            "::1",
            "",
            "a..b",
            "a_b.org",
            "-a.org",
        ] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
        assert!(domain(&"a.".repeat(130)).is_err());
        assert!(directory("http://a/dir").is_err() && directory("https://a/dir").is_ok());
        assert_eq!(contact("me@a.org").unwrap(), "mailto:me@a.org");
        assert!(contact("me").is_err());
    }

    #[test]
    fn waits_are_spread_within_their_bound() {
        let most = Duration::from_secs(100);
        let drawn: Vec<_> = (0..100).map(|_| jitter(most)).collect();
        assert!(drawn.iter().all(|wait| *wait <= most));
        assert!(drawn.iter().max() > drawn.iter().min());
    }
}
