//! One repository of a registry, by the distribution protocol (OCI distribution
//! specification 1.1): `oci-client` speaks it, and signs in where that is asked for.
//!
//! Invariant: what is returned has the digest that it was asked for by. It does NOT know
//! what an artifact is for.

use super::RegistryError;
use super::artifact::{Artifact, Layer, read_manifest};
use super::cache::Cache;
use super::credentials;
use super::digest::Digest;
use super::limits::{CONNECT_MAX, MANIFEST_BYTES_MAX, SILENCE_MAX};
use super::login::Login;
use super::pack::{Blob, Packed};
use super::signature::{self, SigningKey, VerifyingKey};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::HeaderValue;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};

/// How long a token is used that does not say how long it is good for; as Spin has it.
const TOKEN_S: usize = 300;
/// Layers that are on their way at once.
const LAYERS_AT_ONCE: usize = 8;
/// What is said of a registry's words.
const WORDS_MAX: usize = 400;

/// One repository, signed in.
pub(super) struct Registry {
    client: Client,
    login: RegistryAuth,
    pub(super) reference: Reference,
}

/// Whoever speaks the protocol, by plain HTTP if it is `insecure`.
fn client(insecure: bool) -> Result<Client, RegistryError> {
    // The library takes the process's provider; a second one changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig {
        protocol: match insecure {
            true => ClientProtocol::Http,
            false => ClientProtocol::Https,
        },
        platform_resolver: None,
        default_token_expiration_secs: TOKEN_S,
        connect_timeout: Some(CONNECT_MAX),
        read_timeout: Some(SILENCE_MAX),
        user_agent: concat!("edge/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|error| RegistryError::Failed(words(&error)))
}

/// Asks the registry of `reference` whether it takes this login.
///
/// # Errors
/// It does not, or cannot be asked.
pub(super) async fn check(
    reference: &Reference,
    insecure: bool,
    login: &Login,
) -> Result<(), RegistryError> {
    let name = reference.registry();
    let failed = |error: OciDistributionError| {
        RegistryError::Failed(match is_unauthorized(&error) {
            true => format!("{name} does not take this login"),
            false => format!("{name}: {}", words(&error)),
        })
    };
    let client = client(insecure)?;
    let login = RegistryAuth::Basic(login.user.clone(), login.password.clone());
    let token = client.auth(reference, &login, RegistryOperation::Pull);
    // Who gives a token for it has looked at the login; others look when something is asked
    // for, be it of no repository of theirs.
    if token.await.map_err(failed)?.is_some() {
        return Ok(());
    }
    let accepted = [OCI_IMAGE_MEDIA_TYPE];
    match client.pull_manifest_raw(reference, &login, &accepted).await {
        Err(error) if !is_absent(&error) => Err(failed(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Registry {
    /// Meets the registry of `reference`, by plain HTTP if it is `insecure`.
    pub(super) async fn open(
        reference: Reference,
        insecure: bool,
        operation: RegistryOperation,
    ) -> Result<Self, RegistryError> {
        let client = client(insecure)?;
        let login = credentials::of(reference.resolve_registry());
        let registry = Self {
            client,
            login,
            reference,
        };
        registry
            .client
            .auth(&registry.reference, &registry.login, operation)
            .await
            .map_err(|error| registry.failed(&error))?;
        Ok(registry)
    }

    /// `REGISTRY/REPOSITORY`.
    pub(super) fn name(&self) -> String {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        format!("{registry}/{repository}")
    }

    fn tagged(&self, tag: String) -> Reference {
        let reference = &self.reference;
        let (registry, repository) = (reference.registry(), reference.repository());
        Reference::with_tag(registry.to_owned(), repository.to_owned(), tag)
    }

    /// The manifest of the reference.
    pub(super) async fn artifact(&self) -> Result<Artifact, RegistryError> {
        let Some(bytes) = self.manifest(&self.reference).await? else {
            let message = format!("the registry has no {}", self.reference);
            return Err(RegistryError::Failed(message));
        };
        let digest = Digest::of(&bytes);
        if self
            .reference
            .digest()
            .is_some_and(|wanted| wanted != digest.as_str())
        {
            return Err(self.refused(&format!("the registry's manifest is {digest}")));
        }
        Artifact::read(&bytes).map_err(|error| self.refused(&error.to_string()))
    }

    /// The bytes of a manifest, if there is one.
    async fn manifest(&self, reference: &Reference) -> Result<Option<Bytes>, RegistryError> {
        let accepted = [OCI_IMAGE_MEDIA_TYPE];
        let pulled = self
            .client
            .pull_manifest_raw(reference, &self.login, &accepted)
            .await;
        match pulled {
            Ok((bytes, _)) if bytes.len() > MANIFEST_BYTES_MAX => {
                let most = MANIFEST_BYTES_MAX >> 20;
                Err(self.refused(&format!("its manifest has more than {most} MiB")))
            }
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Fetches what the cache does not hold.
    pub(super) async fn fetch(&self, layers: &[Layer], cache: &Cache) -> Result<(), RegistryError> {
        futures::stream::iter(layers.iter().map(Ok))
            .try_for_each_concurrent(LAYERS_AT_ONCE, |layer| async move {
                if cache.holds(&layer.digest)? {
                    return Ok(());
                }
                let mut incoming = cache.incoming()?;
                self.blob(&layer.digest, layer.bytes, |part| incoming.write(part))
                    .await?;
                cache.keep(incoming)
            })
            .await
    }

    /// Hands the parts of a blob to `take`, which has them before their digest is known.
    ///
    /// # Errors
    /// Also where the whole does not have `digest`, or more than `bytes_max` bytes.
    async fn blob(
        &self,
        digest: &Digest,
        bytes_max: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let pulled = self
            .client
            .pull_blob_stream(&self.reference, digest.as_str());
        let mut stream = pulled.await.map_err(|error| self.failed(&error))?;
        let mut bytes = 0;
        while let Some(part) = stream.next().await {
            let part = part.map_err(|error| self.cut(digest, &error))?;
            bytes += part.len() as u64;
            if bytes > bytes_max {
                let message = format!("{digest} has more than the {bytes_max} bytes it may have");
                return Err(self.refused(&message));
            }
            take(&part)?;
        }
        Ok(())
    }

    /// Pushes an application; its digest.
    pub(super) async fn push(&self, packed: &Packed) -> Result<Digest, RegistryError> {
        let blobs = packed.layers.iter().chain([&packed.config]);
        futures::stream::iter(blobs.map(Ok))
            .try_for_each_concurrent(LAYERS_AT_ONCE, |blob| self.push_blob(blob))
            .await?;
        self.push_manifest(&self.reference, &packed.manifest())
            .await
    }

    /// Signs the artifact of this digest, as `cosign sign --key` does.
    pub(super) async fn sign(
        &self,
        digest: &Digest,
        key: &SigningKey,
    ) -> Result<(), RegistryError> {
        let signed = signature::sign(&self.name(), digest, key)?;
        for bytes in [signed.config, signed.payload] {
            self.push_blob(&Blob::new("", bytes)).await?;
        }
        let reference = self.tagged(signature::tag_of(digest));
        self.push_manifest(&reference, &signed.manifest)
            .await
            .map(drop)
    }

    async fn push_blob(&self, blob: &Blob) -> Result<(), RegistryError> {
        let (client, digest) = (&self.client, blob.digest.as_str());
        let failed = |error| self.failed(&error);
        if !client
            .blob_exists(&self.reference, digest)
            .await
            .map_err(failed)?
        {
            let pushed = client.push_blob(&self.reference, blob.bytes.clone(), digest);
            pushed.await.map_err(failed)?;
        }
        Ok(())
    }

    async fn push_manifest(
        &self,
        reference: &Reference,
        manifest: &OciImageManifest,
    ) -> Result<Digest, RegistryError> {
        let bytes = serde_json::to_vec(manifest).map_err(std::io::Error::from)?;
        let digest = Digest::of(&bytes);
        let media_type = HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
        self.client
            .push_manifest_raw(reference, bytes, media_type)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(digest)
    }

    /// Refuses the artifact of this digest unless `key` has signed it.
    pub(super) async fn verify(
        &self,
        digest: &Digest,
        key: &VerifyingKey,
    ) -> Result<(), RegistryError> {
        let refused = |what: &str| self.refused(&format!("{digest} {what}"));
        let reference = self.tagged(signature::tag_of(digest));
        let Some(bytes) = self.manifest(&reference).await? else {
            return Err(refused("is not signed"));
        };
        let manifest = read_manifest(&bytes).map_err(|error| refused(&error.to_string()))?;
        let is_payload = |kind: &str| kind == signature::PAYLOAD_TYPE;
        let signatures = manifest.layers.iter().filter(|l| is_payload(&l.media_type));
        for layer in signatures.take(signature::SIGNATURES_MAX) {
            let Some(named) = Digest::parse(&layer.digest) else {
                continue;
            };
            let mut payload = Vec::new();
            self.blob(&named, signature::PAYLOAD_BYTES_MAX, |part| {
                payload.extend_from_slice(part);
                Ok(())
            })
            .await?;
            if signature::holds(layer, &payload, digest, key) {
                return Ok(());
            }
        }
        Err(refused("has no signature by the key of --verify-key"))
    }

    fn refused(&self, what: &str) -> RegistryError {
        RegistryError::Refused(format!("{}: {what}", self.reference))
    }

    /// A blob that did not come, or is not what it should be.
    fn cut(&self, digest: &Digest, error: &std::io::Error) -> RegistryError {
        let is_other = error
            .get_ref()
            .is_some_and(|error| error.is::<DigestError>());
        match is_other {
            true => self.refused(&format!("{digest}: {}", words(error))),
            false => RegistryError::Failed(format!("{}: {}", self.reference, words(error))),
        }
    }

    fn failed(&self, error: &OciDistributionError) -> RegistryError {
        let registry = self.reference.resolve_registry();
        match error {
            OciDistributionError::DigestError(error) => self.refused(&words(error)),
            error if is_unauthorized(error) => {
                let file = credentials::file().unwrap_or_default();
                let login = match self.login {
                    RegistryAuth::Anonymous => "there is no login for it",
                    _ => "it does not take the login",
                };
                RegistryError::Failed(format!(
                    "{registry} refuses access to {}: {login} in {}, where `edge registry login` \
                     and `docker login` keep it",
                    self.reference.repository(),
                    file.display()
                ))
            }
            error => RegistryError::Failed(format!("{}: {}", self.reference, words(error))),
        }
    }
}

/// Does the registry say that it is not for us?
fn is_unauthorized(error: &OciDistributionError) -> bool {
    matches!(
        error,
        OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
    )
}

/// Does the registry say that there is no such thing?
fn is_absent(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => true,
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| {
                let absent = [
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ];
                absent.contains(&error.code)
            })
        }
        _ => false,
    }
}

/// An error and what it comes from, in words of a bounded length that do nothing to a
/// terminal: some are the registry's.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_bounded_and_plain() {
        let long = format!("\u{1b}[2J\r\n{}", "x".repeat(10_000));
        let error = OciDistributionError::GenericError(None);
        assert!(!words(&error).is_empty());
        let error = std::io::Error::other(long);
        let text = words(&error);
        assert_eq!(text.len(), WORDS_MAX);
        assert!(!text.contains(char::is_control));
    }
}
