//! Counters of this process, and their text in Prometheus' exposition format.
//!
//! Every part of the host counts here; names live in this file only. It does NOT decide
//! anything by a figure.

mod component;

pub(crate) use component::{ComponentFigures, TrapKind};

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The most label values that one counter keeps apart; the rest is counted as `other`.
const SERIES_MAX: usize = 256;

/// A counter with one set of labels, already in exposition format.
#[derive(Debug, Default)]
struct Family(Mutex<BTreeMap<String, u64>>);

impl Family {
    fn add(&self, labels: String, amount: u64) {
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= SERIES_MAX && !series.contains_key(&labels) {
            *series.entry("series=\"other\"".to_owned()).or_default() += amount;
        } else {
            *series.entry(labels).or_default() += amount;
        }
    }

    fn write(&self, out: &mut String, name: Name) {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write_head(out, name);
        let name = name.text();
        for (labels, value) in series.iter() {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
}

macro_rules! names {
    ($( $name:ident $text:literal $kind:literal $help:literal; )*) => {
        /// What is counted. The manual has a row for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Name { $( $name, )* }

        impl Name {
            #[cfg(test)]
            const ALL: &[Self] = &[$( Self::$name, )*];

            /// The name, its kind and its help.
            const fn described(self) -> (&'static str, &'static str, &'static str) {
                match self { $( Self::$name => ($text, $kind, $help), )* }
            }
        }
    };
}

names! {
    Requests "edge_requests_total" "counter" "Requests answered, by component and status.";
    Refused "edge_refused_total" "counter" "What a limit refused, by reason.";
    Certificates "edge_certificates_read_total" "counter" "Certificates read again after their files changed, by outcome.";
    Outbound "edge_outbound_requests_total" "counter" "Outbound requests, by host and outcome.";
    KeyValue "edge_key_value_operations_total" "counter" "Key-value operations, by store.";
    Sqlite "edge_sqlite_statements_total" "counter" "SQLite statements, by database and outcome.";
    Spans "edge_trace_spans_total" "counter" "Spans of traces, by whether the collector took them (sent) or why they were dropped (queue-full, collector).";
    AcmeOrders "edge_acme_orders_total" "counter" "Certificates ordered by ACME, by outcome.";
    Reloads "edge_reloads_total" "counter" "Times that the application was to be loaded anew, by outcome.";
    InFlight "edge_requests_in_flight" "gauge" "Answers that have not ended.";
    Connections "edge_connections" "gauge" "Open connections.";
    AcmeExpiry "edge_acme_certificate_expiry_timestamp_seconds" "gauge" "When the certificate that was got by ACME ends; 0 while there is none.";
    Generation "edge_generation" "gauge" "The version of the application that is served, counted from 1 at each start.";
    GenerationsAlive "edge_generations_alive" "gauge" "Versions that are served or finish what they have begun.";
    BackendUp "edge_backend_up" "gauge" "1 while the backend is up.";
    BackendRestarts "edge_backend_restarts_total" "counter" "Restarts of the backend.";
    LogLinesDropped "edge_log_lines_dropped_total" "counter" "Lines of the log that were dropped because nobody read it.";
    BodyBytesSent "edge_body_bytes_sent_total" "counter" "Bytes of bodies sent.";
    ComponentAnswerSeconds "edge_component_answer_seconds" "histogram" "From a request's arrival at a component to the head of its answer.";
    StageSeconds "edge_component_stage_seconds" "histogram" "How long a stage of an answer took, as the component says in Server-Timing.";
    ComponentCpuSeconds "edge_component_cpu_seconds_total" "counter" "How long a component's instances had a thread, by the clock.";
    ComponentSlow "edge_component_slow" "gauge" "1 while a component's new requests run in the slow lane.";
    Instances "edge_instances" "gauge" "Instances alive.";
    Instantiations "edge_instantiations_total" "counter" "Instances made.";
    Traps "edge_traps_total" "counter" "Instances lost to a trap, by kind.";
    CpuStops "edge_cpu_stops_total" "counter" "Instances out of CPU budget.";
    ComponentMemory "edge_component_memory_bytes" "gauge" "Linear memory of a component's instances, leaves included.";
    ComponentMemoryPeak "edge_component_memory_peak_bytes" "gauge" "The most that this has been.";
    InstanceMemoryPeak "edge_instance_memory_peak_bytes" "gauge" "The most that one instance of the component has held.";
}

impl Name {
    fn text(self) -> &'static str {
        self.described().0
    }
}

fn write_head(out: &mut String, name: Name) {
    let (name, kind, help) = name.described();
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Family,
    outbound: Family,
    key_value: Family,
    sqlite: Family,
    refused: Family,
    certificates: Family,
    spans: Family,
    reloads: Family,
    acme_orders: Family,
    components: Mutex<BTreeMap<String, Arc<ComponentFigures>>>,
    pub(crate) in_flight: AtomicI64,
    pub(crate) connections: AtomicI64,
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

    pub(crate) fn spans(&self, outcome: &str, count: usize) {
        self.spans
            .add(format!("outcome=\"{outcome}\""), count as u64);
    }

    /// The figures of `component`, made with the first call.
    pub(crate) fn component(&self, component: &str) -> Arc<ComponentFigures> {
        let mut components = self.components();
        Arc::clone(components.entry(component.to_owned()).or_default())
    }

    fn components(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<ComponentFigures>>> {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        for (family, name) in self.families() {
            family.write(&mut out, name);
        }
        for (value, name) in self.figures() {
            write_head(&mut out, name);
            let _ = writeln!(out, "{} {value}", name.text());
        }
        component::write_all(&mut out, self.components().iter());
        out
    }

    /// Every counter with labels.
    fn families(&self) -> [(&Family, Name); 9] {
        [
            (&self.requests, Name::Requests),
            (&self.refused, Name::Refused),
            (&self.certificates, Name::Certificates),
            (&self.outbound, Name::Outbound),
            (&self.key_value, Name::KeyValue),
            (&self.sqlite, Name::Sqlite),
            (&self.spans, Name::Spans),
            (&self.acme_orders, Name::AcmeOrders),
            (&self.reloads, Name::Reloads),
        ]
    }

    /// Every figure without labels.
    fn figures(&self) -> [(i64, Name); 9] {
        let level = |of: &AtomicI64| of.load(Relaxed);
        let count = |of: &AtomicU64| i64::try_from(of.load(Relaxed)).unwrap_or(i64::MAX);
        let whole = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        [
            (level(&self.in_flight), Name::InFlight),
            (level(&self.connections), Name::Connections),
            (level(&self.acme_expiry), Name::AcmeExpiry),
            (level(&self.generation), Name::Generation),
            (level(&self.generations_alive), Name::GenerationsAlive),
            (level(&self.backend_up), Name::BackendUp),
            (count(&self.backend_restarts), Name::BackendRestarts),
            (count(&self.body_bytes_sent), Name::BodyBytesSent),
            (whole(crate::log::dropped()), Name::LogLinesDropped),
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
    fn the_page_and_the_manual_have_every_name_once() {
        let metrics = Metrics::default();
        metrics.component("a");
        let page = metrics.text();
        let readme = include_str!("../README.md");
        for name in Name::ALL {
            let (name, kind, help) = name.described();
            let typed = format!("# TYPE {name} {kind}");
            assert_eq!(
                page.lines().filter(|line| *line == typed).count(),
                1,
                "{name}"
            );
            let rows = readme.lines().filter(|line| {
                let cell = line.split('|').nth(1).unwrap_or("").trim();
                let cell = cell.trim_matches('`').split('{').next();
                line.starts_with("| `edge_") && cell == Some(name)
            });
            let rows: Vec<_> = rows.collect();
            assert_eq!(rows.len(), 1, "rows for {name}");
            assert!(
                rows[0].contains(&format!("| {kind} |")),
                "{name} is a {kind}"
            );
            assert!(rows[0].contains(help.trim_end_matches('.')), "{help}");
        }
        let rows = readme.lines().filter(|line| line.starts_with("| `edge_"));
        assert_eq!(
            rows.count(),
            Name::ALL.len(),
            "a row for what is not counted"
        );
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
