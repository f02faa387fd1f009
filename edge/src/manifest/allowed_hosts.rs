//! `allowed_outbound_hosts`: which hosts a component may call, and which addresses a host
//! name may turn out to have.
//!
//! It knows names, ports and address ranges; it does NOT resolve names or open sockets.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// The domain of service chaining: `NAME.spin.internal` is a component of this application.
pub(crate) const SERVICE_DOMAIN: &str = "spin.internal";

/// One valid entry of `allowed_outbound_hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHost {
    scheme: Option<String>,
    host: HostRule,
    port: PortRule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostRule {
    Any,
    /// Any name that ends in this suffix, which begins with a dot.
    Subdomain(String),
    /// The application itself: relative requests.
    Itself,
    Name(String),
    Network(IpNet),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PortRule {
    Any,
    Range(Range<u32>),
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: String,
    /// Lower case; an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// Where `uri` leads; `None` if that cannot be told, as where it has a user and no host.
    pub(crate) fn of(uri: &http::Uri) -> Option<Self> {
        let scheme = uri.scheme_str().unwrap_or("http").to_ascii_lowercase();
        let authority = uri.authority()?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return None;
        }
        let port = authority.port_u16().or_else(|| default_port(&scheme))?;
        Some(Self {
            host: host.to_ascii_lowercase(),
            scheme,
            port,
        })
    }
}

/// How far a grant goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Granted by name or address: whatever address the name has is meant.
    Literal,
    /// Granted by a wildcard: only addresses of the public internet.
    PublicOnly,
}

impl AllowedHost {
    /// Reads `SCHEME://HOST[:PORT]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            format!("{text:?} has no scheme; expected SCHEME://HOST[:PORT], `*` allowed in each")
        })?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest).map_err(|e| format!("{text:?}: {e}"))?;
        let port = PortRule::parse(port, scheme).map_err(|e| format!("{text:?}: {e}"))?;
        let scheme = match scheme {
            "*" => None,
            name if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic()) => {
                Some(name.to_ascii_lowercase())
            }
            _ => return Err(format!("{text:?}: a scheme is letters only, or `*`")),
        };
        let host = HostRule::parse(host).map_err(|e| format!("{text:?}: {e}"))?;
        Ok(Self { scheme, host, port })
    }

    fn allows(&self, target: &Target) -> Option<Reach> {
        let scheme = self
            .scheme
            .as_ref()
            .is_none_or(|scheme| *scheme == target.scheme);
        (scheme && self.port.allows(target.port))
            .then(|| self.host.allows(&target.host))
            .flatten()
    }
}

/// May a component call `target`? The widest reach of all entries that allow it.
pub(crate) fn allowed(entries: &[AllowedHost], target: &Target) -> Option<Reach> {
    let mut widest = None;
    for entry in entries {
        match entry.allows(target) {
            Some(Reach::Literal) => return Some(Reach::Literal),
            Some(reach) => widest = Some(reach),
            None => {}
        }
    }
    widest
}

/// May a component call the application itself (a request without a host)?
pub(crate) fn allows_itself(entries: &[AllowedHost]) -> bool {
    entries
        .iter()
        .any(|entry| matches!(entry.host, HostRule::Itself | HostRule::Any))
}

/// May a component call component `id` by service chaining? Only an entry that names the
/// component, or all of them by `*.spin.internal`, grants that: `*://*:*` does, as under Spin.
pub(crate) fn allows_service(entries: &[AllowedHost], scheme: &str, id: &str) -> bool {
    let target = Target {
        scheme: scheme.to_owned(),
        host: format!("{id}.{SERVICE_DOMAIN}"),
        port: if scheme == "https" { 443 } else { 80 },
    };
    allowed(entries, &target).is_some()
}

fn split_port(rest: &str) -> Result<(&str, &str), String> {
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, after) = bracketed
            .split_once(']')
            .ok_or_else(|| "an IPv6 address misses its `]`".to_owned())?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if after.is_empty() => Ok((host, "")),
            None => Err(format!(
                "{after:?} follows an IPv6 address; expected `:PORT`"
            )),
        };
    }
    // A network may be an IPv6 one, whose colons part no port.
    if rest.parse::<IpNet>().is_ok() {
        return Ok((rest, ""));
    }
    match rest.rsplit_once(':') {
        Some((host, port)) => Ok((host, port)),
        None => Ok((rest, "")),
    }
}

impl HostRule {
    fn parse(host: &str) -> Result<Self, String> {
        match host {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::Itself),
            "" => return Err("the host is missing".to_owned()),
            _ => {}
        }
        if let Ok(network) = host.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        if host.contains('/') {
            return Err("a path is not part of a host".to_owned());
        }
        if let Some(domain) = host.strip_prefix("*.") {
            return Ok(Self::Subdomain(format!(".{}", check_name(domain)?)));
        }
        check_name(host).map(Self::Name)
    }

    fn allows(&self, host: &str) -> Option<Reach> {
        match self {
            Self::Any => Some(Reach::PublicOnly),
            Self::Subdomain(suffix) => (host.len() > suffix.len()
                && host.ends_with(suffix.as_str()))
            .then_some(Reach::PublicOnly),
            Self::Itself => None,
            Self::Name(name) => (name == host).then_some(Reach::Literal),
            Self::Network(network) => {
                let address = host.parse::<IpAddr>().ok()?;
                network.contains(&address).then_some(Reach::Literal)
            }
        }
    }
}

fn check_name(name: &str) -> Result<String, String> {
    if name.contains('*') {
        return Err("a `*` stands alone or before the first dot".to_owned());
    }
    let valid = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        });
    if !valid {
        return Err(format!("{name:?} is not a host name"));
    }
    Ok(name.to_ascii_lowercase())
}

impl PortRule {
    fn parse(port: &str, scheme: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<u16>()
                .map_err(|_| format!("{text:?} is not a port"))
        };
        match port {
            "*" => Ok(Self::Any),
            "" => {
                let port = default_port(scheme)
                    .ok_or_else(|| format!("scheme {scheme:?} has no default port; name one"))?;
                Ok(Self::one(port))
            }
            _ => match port.split_once("..") {
                // The end is exclusive, as under Spin.
                Some((start, end)) => {
                    let (start, end) = (number(start)?, number(end)?);
                    if start >= end {
                        return Err(format!("the port range {port:?} is empty"));
                    }
                    Ok(Self::Range(u32::from(start)..u32::from(end)))
                }
                None => Ok(Self::one(number(port)?)),
            },
        }
    }

    fn one(port: u16) -> Self {
        Self::Range(u32::from(port)..u32::from(port) + 1)
    }

    fn allows(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Range(range) => range.contains(&u32::from(port)),
        }
    }
}

/// The port that a scheme implies.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "redis" => Some(6379),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "mqtt" => Some(1883),
        _ => None,
    }
}

/// The component that `host` names by service chaining.
pub(crate) fn service_of(host: &str) -> Option<&str> {
    let id = host.strip_suffix(SERVICE_DOMAIN)?.strip_suffix('.')?;
    (!id.is_empty() && !id.contains('.')).then_some(id)
}

/// Is `address` on the public internet? Everything that RFC 6890 and its successors set
/// aside is not, and neither is an IPv6 address that carries such an IPv4 address inside.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let set_aside = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || (a == 100 && (b & 0xc0) == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b & 0xfe) == 18)
        || a >= 240;
    !set_aside
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let inside = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    // IPv4-mapped (::ffff:a.b.c.d), IPv4-compatible (::a.b.c.d) and NAT64 (64:ff9b::a.b.c.d).
    let mapped = s[..5] == [0; 5] && (s[5] == 0xffff || s[5] == 0);
    let nat64 = s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    if mapped || nat64 {
        return s[5] != 0 && is_public_v4(inside(s[6], s[7]))
            || nat64 && is_public_v4(inside(s[6], s[7]));
    }
    // 6to4 (2002:a.b.c.d::/16).
    if s[0] == 0x2002 {
        return is_public_v4(inside(s[1], s[2]));
    }
    let set_aside = address.is_multicast()
        || (s[0] & 0xfe00) == 0xfc00
        || (s[0] & 0xffc0) == 0xfe80
        || (s[0] & 0xffc0) == 0xfec0
        || s[0] == 0x0100
        || (s[0] == 0x64 && s[1] == 0xff9b)
        || (s[0] == 0x2001 && s[1] < 0x0200)
        || (s[0] == 0x2001 && s[1] == 0x0db8)
        || s[0] == 0x5f00
        || (s[0] == 0x3fff && s[1] < 0x1000);
    !set_aside
}

#[cfg(test)]
mod tests;
