//! The headers that keep the page safe in a browser, on every answer of this component.
//!
//! It knows what the page needs (its own scripts, styles and pictures, and requests to its own
//! origin); it does not know which file is being served.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Nothing inline, nothing from elsewhere. Trusted Types close the DOM's string-to-code sinks:
/// only the sanitiser's own policy may make HTML from text, so an answer of the model cannot
/// become markup by another way, even through a mistake in the page.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types dompurify";

/// One year, as the preload lists ask.
const TRANSPORT_SECURITY: &str = "max-age=31536000";

const FIXED: [(&str, &str); 6] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    ),
];

/// Adds the headers. `full_url` is the address as the client asked for it (`spin-full-url`), if
/// the host says so.
pub fn add_headers(headers: &mut HeaderMap, full_url: Option<&str>) {
    for (name, value) in FIXED {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    if full_url.is_some_and(wants_transport_security) {
        let value = HeaderValue::from_static(TRANSPORT_SECURITY);
        headers.insert(http::header::STRICT_TRANSPORT_SECURITY, value);
    }
}

/// A laptop's `localhost` serves many things, some without TLS, and a browser would remember the
/// demand for all of them; an address in digits cannot carry it (RFC 6797 §8.1.1).
fn wants_transport_security(full_url: &str) -> bool {
    let Ok(url) = full_url.parse::<http::Uri>() else {
        return false;
    };
    let host = url
        .host()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let digits = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    let local = host == "localhost" || host.ends_with(".localhost");
    url.scheme_str() == Some("https") && !host.is_empty() && !digits && !local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transport_security_is_for_names_over_tls() {
        let check = |url: &str, expect: bool| {
            assert_eq!(wants_transport_security(url), expect, "{url}");
        };
        check("https://chat.example.org/", true);
        check("https://chat.example.org:8443/x", true);
        check("http://chat.example.org/", false);
        check("https://localhost:8443/", false);
        check("https://LOCALHOST./", false);
        check("https://pop.localhost/", false);
        check("https://127.0.0.1/", false);
        check("https://[::1]:8443/", false);
        check("not a url", false);
        check("/", false);
    }

    #[test]
    fn no_inline_code_is_allowed() {
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
        assert!(CONTENT_SECURITY_POLICY.starts_with("default-src 'none'"));
        assert!(
            !CONTENT_SECURITY_POLICY.contains("  "),
            "the line breaks are joined"
        );
    }
}
