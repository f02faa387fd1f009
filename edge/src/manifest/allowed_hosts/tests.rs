//! What `allowed_outbound_hosts` lets through and what it stops, forged targets included.

use super::*;

fn check(entries: &[&str], url: &str, expect: Option<Reach>) {
    let entries: Vec<AllowedHost> = entries
        .iter()
        .map(|text| AllowedHost::parse(text).unwrap())
        .collect();
    let uri: http::Uri = url.parse().unwrap();
    let target = Target::of(&uri).unwrap();
    assert_eq!(allowed(&entries, &target), expect, "{url} by {entries:?}");
}

#[test]
fn names_ports_and_schemes() {
    let literal = Some(Reach::Literal);
    check(&[], "https://example.com", None);
    check(&["https://example.com"], "https://example.com", literal);
    check(
        &["https://example.com"],
        "https://EXAMPLE.com:443/x",
        literal,
    );
    check(&["https://example.com"], "http://example.com", None);
    check(&["https://example.com"], "https://example.com:8443", None);
    check(
        &["https://example.com"],
        "https://example.com.evil.net",
        None,
    );
    check(&["https://example.com"], "https://sub.example.com", None);
    check(&["https://example.com/"], "https://example.com", literal);
    check(
        &["http://example.com:8080"],
        "http://example.com:8080",
        literal,
    );
    check(&["http://example.com:8080"], "http://example.com", None);
    check(
        &["http://example.com:8000..8010"],
        "http://example.com:8009",
        literal,
    );
    check(
        &["http://example.com:8000..8010"],
        "http://example.com:8010",
        None,
    );
    check(&["*://example.com:*"], "http://example.com:1", literal);
}

#[test]
fn wildcards_reach_public_addresses_only() {
    let public = Some(Reach::PublicOnly);
    check(&["https://*.example.com"], "https://a.example.com", public);
    check(
        &["https://*.example.com"],
        "https://a.b.example.com",
        public,
    );
    check(&["https://*.example.com"], "https://example.com", None);
    check(&["https://*.example.com"], "https://notexample.com", None);
    check(&["*://*:*"], "http://10.0.0.1", public);
    check(
        &["*://*:*", "http://10.0.0.1"],
        "http://10.0.0.1",
        Some(Reach::Literal),
    );
}

#[test]
fn addresses_and_networks() {
    let literal = Some(Reach::Literal);
    check(&["http://127.0.0.1:*"], "http://127.0.0.1:8000", literal);
    check(&["http://10.0.0.0/8:80"], "http://10.1.2.3", literal);
    check(&["http://10.0.0.0/8:80"], "http://11.1.2.3", None);
    check(&["http://[::1]:8000"], "http://[::1]:8000", literal);
    check(
        &["http://[::1]:8000"],
        "http://[0:0:0:0:0:0:0:1]:8000",
        literal,
    );
    check(&["http://localhost:8000"], "http://127.0.0.1:8000", None);
}

#[test]
fn forged_targets_get_no_grant() {
    // The name is compared as a whole: what an URL hides before an `@`, in a trailing dot
    // or in odd spellings of an address never equals a granted name.
    for url in [
        "https://example.com@evil.net",
        "https://example.com:443@evil.net",
        "https://example.com.",
        "https://evil.net/example.com",
        "https://evil.net?example.com",
        "http://0x7f000001",
        "http://2130706433",
        "http://127.1",
        "http://[::ffff:127.0.0.1]",
    ] {
        check(&["https://example.com", "http://127.0.0.1"], url, None);
    }
}

#[test]
fn an_url_without_a_host_leads_nowhere() {
    for url in [
        "https://a@:81/",
        "https://a@/",
        "http://[]/",
        "/path",
        "odd://host/",
    ] {
        let target = url.parse().ok().as_ref().and_then(Target::of);
        assert_eq!(target, None, "{url}");
    }
    // The parser takes this one.
    let taken: http::Uri = "https://a@:81/".parse().unwrap();
    assert_eq!(taken.host(), Some(""));
}

#[test]
fn bad_entries_are_refused() {
    for bad in [
        "",
        "*",
        "example.com",
        "https://",
        "https://example.com/path",
        "https://ex*mple.com",
        "https://*.*.com",
        "https://example.com:http",
        "https://example.com:90..80",
        "https://example.com:70000",
        "ht+tp://example.com:1",
        "gopher://example.com",
        "http://[::1",
        "http://exa mple.com",
    ] {
        assert!(AllowedHost::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn services_are_names_of_one_label() {
    assert_eq!(service_of("ledger.spin.internal"), Some("ledger"));
    assert_eq!(service_of("spin.internal"), None);
    assert_eq!(service_of(".spin.internal"), None);
    assert_eq!(service_of("a.b.spin.internal"), None);
    assert_eq!(service_of("ledger.spin.internal.evil.net"), None);
    let entries = [AllowedHost::parse("http://ledger.spin.internal").unwrap()];
    assert!(allows_service(&entries, "http", "ledger"));
    assert!(!allows_service(&entries, "http", "directory"));
    let all = [AllowedHost::parse("http://*.spin.internal").unwrap()];
    assert!(allows_service(&all, "http", "directory"));
}

#[test]
fn set_aside_addresses_are_not_public() {
    for address in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "172.32.0.1",
        "2606:4700::1111",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}
