//! Signatures as `cosign sign --key` makes them, and `cosign verify --key` checks them: over
//! a payload that names the artifact's digest, kept beside it under a tag of that digest.
//! ECDSA on P-256, as cosign's own keys, and Ed25519; nothing but the key is asked (no
//! transparency log). It does NOT fetch anything.

use super::RegistryError;
use super::digest::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest,
};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Signatures of one artifact that are looked at.
pub(super) const SIGNATURES_MAX: usize = 16;
/// The largest payload: one has some 250 bytes, and what a signer adds.
pub(super) const PAYLOAD_BYTES_MAX: u64 = 64 << 10;

pub(super) const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What the payload says it is.
const PAYLOAD_KIND: &str = "cosign container image signature";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// What a public key begins with in its DER form (RFC 8410 §4, RFC 5480 §2): the key itself
/// follows.
const ED25519_PREFIX: [u8; 12] = [0x30, 42, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 33, 0];
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 3, 0x42, 0,
];

pub(super) enum SigningKey {
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<EcdsaKeyPair>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum VerifyingKey {
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
}

impl SigningKey {
    /// Reads a private key: PKCS #8 in PEM, without a password.
    pub(super) fn parse(pem: &str) -> Result<Self, RegistryError> {
        let wrong = || {
            RegistryError::Wrong(
                "--sign-key: expected a private key of Ed25519 or P-256 (PKCS #8 in PEM, \
                 without a password)"
                    .to_owned(),
            )
        };
        if pem.contains("-----BEGIN ENCRYPTED") {
            let message = "--sign-key: the key has a password; expected PKCS #8 in PEM without \
                           one (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`)";
            return Err(RegistryError::Wrong(message.to_owned()));
        }
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())?;
        let der = key.secret_pkcs8_der();
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self::Ed25519(Box::new(pair)));
        }
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
            .map(|pair| Self::P256(Box::new(pair)))
            .map_err(|_| wrong())
    }

    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, RegistryError> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(payload).as_ref().to_vec()),
            Self::P256(pair) => pair
                .sign(&SystemRandom::new(), payload)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| RegistryError::Failed("the key does not sign".to_owned())),
        }
    }
}

impl VerifyingKey {
    /// Reads a public key in PEM, such as `cosign.pub`.
    pub(super) fn parse(pem: &str) -> Result<Self, RegistryError> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok();
        let read = key.as_ref().and_then(|key| {
            let der: &[u8] = key.as_ref();
            let of = |prefix: &[u8], length: usize| {
                let key = der.strip_prefix(prefix)?;
                (key.len() == length).then(|| key.to_vec())
            };
            let ed25519 = of(&ED25519_PREFIX, 32).map(Self::Ed25519);
            ed25519.or_else(|| of(&P256_PREFIX, 65).map(Self::P256))
        });
        read.ok_or_else(|| {
            let message = "--verify-key: expected a public key of Ed25519 or P-256, in PEM";
            RegistryError::Wrong(message.to_owned())
        })
    }

    fn verify(&self, payload: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(payload, signature),
            Self::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(payload, signature)
            }
        };
        verified.is_ok()
    }
}

/// The tag of the signatures of the artifact of this digest.
pub(super) fn tag_of(digest: &Digest) -> String {
    format!("{}.sig", digest.name())
}

/// A signature's artifact: its manifest, its config and its one layer.
pub(super) struct Signed {
    pub(super) manifest: OciImageManifest,
    pub(super) config: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Signs the artifact of this digest. `name` is its `REGISTRY/REPOSITORY`.
pub(super) fn sign(name: &str, digest: &Digest, key: &SigningKey) -> Result<Signed, RegistryError> {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": name },
            "image": { "docker-manifest-digest": digest.as_str() },
            "type": PAYLOAD_KIND,
        },
        "optional": null,
    })
    .to_string()
    .into_bytes();
    let signature = BASE64_STANDARD.encode(key.sign(&payload)?);
    let describe = |media_type: &str, bytes: &[u8]| OciDescriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes).to_string(),
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    };
    let mut layer = describe(PAYLOAD_TYPE, &payload);
    layer.annotations = Some(BTreeMap::from([(ANNOTATION.to_owned(), signature)]));
    let config = json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    });
    let config = config.to_string().into_bytes();
    let manifest = OciImageManifest {
        media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
        config: describe(IMAGE_CONFIG_MEDIA_TYPE, &config),
        layers: vec![layer],
        ..OciImageManifest::default()
    };
    Ok(Signed {
        manifest,
        config,
        payload,
    })
}

/// Is this a signature of the artifact of this digest, by this key?
pub(super) fn holds(
    layer: &OciDescriptor,
    payload: &[u8],
    digest: &Digest,
    key: &VerifyingKey,
) -> bool {
    let signature = layer
        .annotations
        .as_ref()
        .and_then(|all| all.get(ANNOTATION));
    let signature = signature.and_then(|text| BASE64_STANDARD.decode(text).ok());
    // The payload is read only once its signature holds.
    if !signature.is_some_and(|signature| key.verify(payload, &signature)) {
        return false;
    }
    let payload: Option<Value> = serde_json::from_slice(payload).ok();
    payload.is_some_and(|payload| {
        let critical = &payload["critical"];
        critical["image"]["docker-manifest-digest"] == digest.as_str()
            && critical["type"] == PAYLOAD_KIND
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new pair of keys, by the crate that makes certificates: private and public PEM.
    fn keys(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        (pair.serialize_pem(), pair.public_key_pem())
    }

    #[test]
    fn a_signature_holds_for_its_key_and_its_digest_only() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256] {
            let (private, public) = keys(algorithm);
            let key = VerifyingKey::parse(&public).unwrap();
            let signed = sign("r/a", &one, &SigningKey::parse(&private).unwrap()).unwrap();
            let layer = &signed.manifest.layers[0];
            let check = |payload: &[u8], digest: &Digest, key: &VerifyingKey| {
                holds(layer, payload, digest, key)
            };
            assert!(check(&signed.payload, &one, &key));
            assert!(!check(&signed.payload, &two, &key), "another digest");
            let text = String::from_utf8(signed.payload.clone()).unwrap();
            let changed = text.replace(one.as_str(), two.as_str());
            assert!(!check(changed.as_bytes(), &two, &key), "another payload");
            let (_, other) = keys(algorithm);
            let other = VerifyingKey::parse(&other).unwrap();
            assert!(!check(&signed.payload, &one, &other), "another key");
            let mut bare = layer.clone();
            bare.annotations = None;
            assert!(!holds(&bare, &signed.payload, &one, &key), "no signature");
        }
    }

    #[test]
    fn one_bit_of_a_signature_or_a_payload_is_enough() {
        let digest = Digest::of(b"one");
        let (private, public) = keys(&rcgen::PKCS_ECDSA_P256_SHA256);
        let key = VerifyingKey::parse(&public).unwrap();
        let signed = sign("r/a", &digest, &SigningKey::parse(&private).unwrap()).unwrap();
        let layer = &signed.manifest.layers[0];
        for bit in 0..signed.payload.len() * 8 {
            let mut payload = signed.payload.clone();
            payload[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(layer, &payload, &digest, &key), "bit {bit}");
        }
        let signature = &layer.annotations.as_ref().unwrap()[ANNOTATION];
        let signature = BASE64_STANDARD.decode(signature).unwrap();
        for bit in 0..signature.len() * 8 {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut layer = layer.clone();
            let text = BASE64_STANDARD.encode(changed);
            layer.annotations = Some(BTreeMap::from([(ANNOTATION.to_owned(), text)]));
            assert!(!holds(&layer, &signed.payload, &digest, &key), "bit {bit}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (private, public) = keys(&rcgen::PKCS_ECDSA_P384_SHA384);
        for text in ["", "text", &private, &public] {
            assert!(SigningKey::parse(text).is_err());
            assert!(VerifyingKey::parse(text).is_err());
        }
        let encrypted = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n\
                         -----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        let error = SigningKey::parse(encrypted).err().unwrap().to_string();
        assert!(error.contains("has a password"), "{error}");
    }

    #[test]
    fn the_tag_is_cosigns() {
        let digest = Digest::of(b"one");
        let digits = digest.as_str().trim_start_matches("sha256:");
        assert_eq!(tag_of(&digest), format!("sha256-{digits}.sig"));
    }
}
