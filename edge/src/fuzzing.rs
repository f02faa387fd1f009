//! What reads from outside, for fuzz targets: each takes anything, and neither panics nor
//! takes what it must not.

use crate::dispatch::headers;
use crate::front::{framing, proxied};
use crate::manifest::Manifest;
use crate::manifest::allowed_hosts::{AllowedHost, Reach, Target, allowed};
use crate::registry;
use crate::runtime_config::RuntimeConfig;
use std::path::Path;

/// A manifest: it is taken, or a message says what is wrong.
pub fn manifest(text: &str) {
    if let Err(message) = Manifest::parse(text, Path::new("/nowhere"), None) {
        assert!(!message.is_empty());
    }
}

/// A runtime configuration.
pub fn runtime_config(text: &str) {
    let nowhere = Path::new("/nowhere");
    if let Err(message) = RuntimeConfig::default().overlay(text, nowhere, nowhere) {
        assert!(!message.is_empty());
    }
}

/// A grant and a target: no target without a host is let through, and no private address
/// by a wildcard's reach.
pub fn allowed_hosts(grant: &str, url: &str) {
    let Ok(grant) = AllowedHost::parse(grant) else {
        return;
    };
    let Some(target) = url.parse().ok().as_ref().and_then(Target::of) else {
        return;
    };
    if let Some(reach) = allowed(&[grant], &target) {
        assert!(!target.host.is_empty());
        assert!(matches!(reach, Reach::Literal | Reach::PublicOnly));
    }
}

/// What a registry sends: a manifest of an artifact, and a locked application.
pub fn registry_artifact(manifest: &[u8], locked: &[u8]) {
    registry::fuzzing::artifact(manifest, locked);
}

/// A head of the PROXY protocol.
pub fn proxy_head(head: &[u8]) {
    let _ = proxied::client_in(head);
}

/// A stream of HTTP/1 requests, whole and cut in two: both are read alike.
pub fn framing(stream: &[u8], cut: usize) {
    let whole = framing::Framing::new().take(stream).is_ok();
    let mut parts = framing::Framing::new();
    let (first, second) = stream.split_at(cut.min(stream.len()));
    let cut = parts.take(first).and_then(|()| parts.take(second)).is_ok();
    assert_eq!(whole, cut);
}

/// A client's header fields, as they go to a component: none of the host's own is left,
/// and the trace that goes on is one.
pub fn header_conversion(fields: &[(&[u8], &[u8])]) {
    let mut map = http::HeaderMap::new();
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name);
        let value = http::HeaderValue::from_bytes(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    let trace = headers::traceparent(&mut map);
    assert!(trace.to_str().is_ok_and(|trace| trace.len() == 55));
    headers::strip_foreign(&mut map);
    assert!(map.keys().all(|name| !name.as_str().starts_with("spin-")));
}
