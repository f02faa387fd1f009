//! Counters of this process, and their text in Prometheus' exposition format.
//!
//! Every part of the host counts here; names and labels live in this file only. It does NOT
//! decide anything by a figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The most label values that one counter keeps apart; the rest is counted as `other`.
const SERIES_MAX: usize = 256;

/// A counter with one set of labels, already in exposition format.
#[derive(Debug, Default)]
struct Family(Mutex<BTreeMap<String, u64>>);

impl Family {
    fn add(&self, labels: String, amount: u64) {
        let mut series = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if series.len() >= SERIES_MAX && !series.contains_key(&labels) {
            *series.entry("series=\"other\"".to_owned()).or_default() += amount;
        } else {
            *series.entry(labels).or_default() += amount;
        }
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let series = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (labels, value) in series.iter() {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Family,
    outbound: Family,
    traps: Family,
    cpu_stops: Family,
    instantiations: Family,
    key_value: Family,
    sqlite: Family,
    refused: Family,
    certificates: Family,
    reloads: Family,
    acme_orders: Family,
    pub(crate) in_flight: AtomicI64,
    pub(crate) connections: AtomicI64,
    pub(crate) instances: AtomicI64,
    /// Seconds since 1970.
    pub(crate) acme_expiry: AtomicI64,
    pub(crate) generation: AtomicI64,
    pub(crate) generations_alive: AtomicI64,
    pub(crate) backend_restarts: AtomicU64,
    pub(crate) backend_up: AtomicI64,
    pub(crate) body_bytes_sent: AtomicU64,
}

impl Metrics {
    pub(crate) fn request(&self, component: &str, status: u16) {
        self.requests
            .add(format!("component=\"{component}\",status=\"{status}\""), 1);
    }

    pub(crate) fn outbound(&self, host: &str, outcome: &str) {
        self.outbound
            .add(format!("host=\"{}\",outcome=\"{outcome}\"", label(host)), 1);
    }

    pub(crate) fn trap(&self, component: &str) {
        self.traps.add(format!("component=\"{component}\""), 1);
    }

    pub(crate) fn cpu_stop(&self, component: &str) {
        self.cpu_stops.add(format!("component=\"{component}\""), 1);
    }

    pub(crate) fn instantiation(&self, component: &str) {
        self.instantiations
            .add(format!("component=\"{component}\""), 1);
    }

    pub(crate) fn key_value(&self, store: &str, operation: &str) {
        self.key_value.add(
            format!("store=\"{}\",operation=\"{operation}\"", label(store)),
            1,
        );
    }

    pub(crate) fn sqlite(&self, database: &str, outcome: &str) {
        self.sqlite.add(
            format!("database=\"{}\",outcome=\"{outcome}\"", label(database)),
            1,
        );
    }

    pub(crate) fn refused(&self, reason: &str) {
        self.refused.add(format!("reason=\"{reason}\""), 1);
    }

    pub(crate) fn certificates(&self, outcome: &str) {
        self.certificates.add(format!("outcome=\"{outcome}\""), 1);
    }

    pub(crate) fn reload(&self, outcome: &str) {
        self.reloads.add(format!("outcome=\"{outcome}\""), 1);
    }

    pub(crate) fn acme_order(&self, outcome: &str) {
        self.acme_orders.add(format!("outcome=\"{outcome}\""), 1);
    }

    /// The whole in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for (family, name, help) in self.families() {
            family.write(&mut out, name, help);
        }
        for (kind, value, name, help) in self.figures() {
            let _ = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        }
        out
    }

    /// Every counter with labels, its name and its help.
    fn families(&self) -> [(&Family, &'static str, &'static str); 11] {
        let named = |family, name, help| (family, name, help);
        [
            named(
                &self.requests,
                "edge_requests_total",
                "Requests answered, by component.",
            ),
            named(
                &self.refused,
                "edge_refused_total",
                "What a limit refused, by reason.",
            ),
            named(
                &self.certificates,
                "edge_certificates_read_total",
                "Certificates read again after their files changed.",
            ),
            named(
                &self.acme_orders,
                "edge_acme_orders_total",
                "Certificates ordered by ACME, by outcome.",
            ),
            named(
                &self.reloads,
                "edge_reloads_total",
                "Times that the application was to be loaded anew, by outcome.",
            ),
            named(
                &self.instantiations,
                "edge_instantiations_total",
                "Instances made.",
            ),
            named(&self.traps, "edge_traps_total", "Instances lost to a trap."),
            named(
                &self.cpu_stops,
                "edge_cpu_stops_total",
                "Instances out of CPU budget.",
            ),
            named(
                &self.outbound,
                "edge_outbound_requests_total",
                "Outbound requests.",
            ),
            named(
                &self.key_value,
                "edge_key_value_operations_total",
                "Key-value operations.",
            ),
            named(
                &self.sqlite,
                "edge_sqlite_statements_total",
                "SQLite statements.",
            ),
        ]
    }

    /// Every figure without labels: its kind, value, name and help.
    fn figures(&self) -> [(&'static str, i64, &'static str, &'static str); 9] {
        let level = |of: &AtomicI64| of.load(Relaxed);
        let count = |of: &AtomicU64| i64::try_from(of.load(Relaxed)).unwrap_or(i64::MAX);
        let in_flight = level(&self.in_flight);
        let restarts = count(&self.backend_restarts);
        let bytes = count(&self.body_bytes_sent);
        [
            (
                "gauge",
                in_flight,
                "edge_requests_in_flight",
                "Answers that have not ended.",
            ),
            (
                "gauge",
                level(&self.connections),
                "edge_connections",
                "Open connections.",
            ),
            (
                "gauge",
                level(&self.instances),
                "edge_instances",
                "Instances alive.",
            ),
            (
                "gauge",
                level(&self.acme_expiry),
                "edge_acme_certificate_expiry_timestamp_seconds",
                "When the certificate that was got by ACME ends; 0 while there is none.",
            ),
            (
                "gauge",
                level(&self.generation),
                "edge_generation",
                "The version of the application that is served, counted from 1 at each start.",
            ),
            (
                "gauge",
                level(&self.generations_alive),
                "edge_generations_alive",
                "Versions that are served or finish what they have begun.",
            ),
            (
                "gauge",
                level(&self.backend_up),
                "edge_backend_up",
                "1 while the backend is up.",
            ),
            (
                "counter",
                restarts,
                "edge_backend_restarts_total",
                "Restarts of the backend.",
            ),
            (
                "counter",
                bytes,
                "edge_body_bytes_sent_total",
                "Bytes of bodies sent.",
            ),
        ]
    }
}

/// A label's value, without what would break the format.
fn label(text: &str) -> String {
    text.chars()
        .take(128)
        .map(|c| {
            if c == '"' || c == '\\' || c.is_control() {
                '_'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_series() {
        let metrics = Metrics::default();
        metrics.request("gateway", 200);
        metrics.request("gateway", 200);
        metrics.outbound("a\"b\n", "ok");
        let text = metrics.text();
        assert!(text.contains("edge_requests_total{component=\"gateway\",status=\"200\"} 2"));
        assert!(text.contains("host=\"a_b_\""));
    }

    #[test]
    fn series_are_bounded() {
        let metrics = Metrics::default();
        for host in 0..2 * SERIES_MAX {
            metrics.outbound(&format!("h{host}"), "ok");
        }
        assert!(
            metrics
                .text()
                .lines()
                .filter(|l| l.starts_with("edge_outbound"))
                .count()
                <= SERIES_MAX + 1
        );
    }
}
