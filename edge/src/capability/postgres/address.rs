//! Where a component's address leads: a `postgres://` URL or `key=value` pairs, checked
//! against its grant.
//!
//! It does NOT resolve names.

use crate::manifest::allowed_hosts::{AllowedHost, Reach, Target, allowed};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// PostgreSQL's own port.
const PORT: u16 = 5432;

/// A valid address: one host at least, by name, each with its port.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    /// Tried in this order.
    pub(super) hosts: Vec<(String, u16)>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let config: Config = text.parse().map_err(|e: tokio_postgres::Error| {
            use std::error::Error as _;
            match e.source() {
                Some(source) => format!("{e}: {source}"),
                None => e.to_string(),
            }
        })?;
        if !config.get_hostaddrs().is_empty() {
            // It would lead past the check by name.
            return Err("invalid address: hostaddr is not supported".to_owned());
        }
        let ports = config.get_ports();
        let mut hosts = Vec::new();
        for (position, host) in config.get_hosts().iter().enumerate() {
            let port = match ports {
                [] => PORT,
                [one] => *one,
                all => *all
                    .get(position)
                    .ok_or("invalid address: a port is missing")?,
            };
            match host {
                Host::Tcp(name) => hosts.push((name.clone(), port)),
                Host::Unix(_) => {
                    return Err("Unix sockets are not supported on WebAssembly".to_owned());
                }
            }
        }
        match hosts.is_empty() {
            true => Err("invalid address: the host is missing".to_owned()),
            false => Ok(Self { config, hosts }),
        }
    }

    /// How far the grant for all of its hosts goes, or which host has none.
    pub(super) fn check(&self, granted: &[AllowedHost]) -> Result<Reach, String> {
        let mut reach = Reach::Literal;
        for (host, port) in &self.hosts {
            let target = Target {
                scheme: "postgres".to_owned(),
                host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
                port: *port,
            };
            match allowed(granted, &target) {
                None => return Err(format!("{host}:{port}")),
                Some(Reach::PublicOnly) => reach = Reach::PublicOnly,
                Some(Reach::Literal) => {}
            }
        }
        Ok(reach)
    }

    /// The name that figures are kept under.
    pub(super) fn first_host(&self) -> &str {
        self.hosts.first().map_or("", |(host, _)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_hosts_and_ports() {
        let check = |text: &str, expect: &[(&str, u16)]| {
            let address = Address::parse(text);
            let hosts = address.map(|address| address.hosts);
            let found: Result<Vec<(&str, u16)>, _> = hosts
                .as_ref()
                .map(|hosts| hosts.iter().map(|(h, p)| (h.as_str(), *p)).collect());
            assert_eq!(found, Ok(expect.to_vec()), "{text}");
        };
        check("postgres://db.example.com/x", &[("db.example.com", 5432)]);
        check(
            "postgresql://u:p%40@h:7000/x?sslmode=require",
            &[("h", 7000)],
        );
        check("host=a,b port=1,2 user=u", &[("a", 1), ("b", 2)]);
        check("host=a,b port=1", &[("a", 1), ("b", 1)]);
        for wrong in ["", "user=u", "host=a hostaddr=10.0.0.1", "host=/run", "a b"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
