//! Where traces go, by OpenTelemetry's own environment variables.
//!
//! Read whole before anything is bound; a wrong one is named. The exporter reads by itself
//! what concerns the connection only: headers and the time that it may take.

use super::sampler::Sampler;
use std::time::Duration;

/// Turns traces on, for all signals or for traces alone.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
/// The same for the protocol.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
];
/// Spans that wait, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise: some 2 KB each.
const QUEUE_DEFAULT: u64 = 2_048;
/// Spans in one message, unless `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` says otherwise.
const BATCH_DEFAULT: u64 = 512;
/// How long a span waits for others, unless `OTEL_BSP_SCHEDULE_DELAY` says otherwise.
const DELAY_DEFAULT_MS: u64 = 5_000;
/// What the specification has as default.
const SAMPLER_DEFAULT: &str = "parentbased_always_on";

/// How traces are made and sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(super) sampler: Sampler,
    pub(super) queue_max: usize,
    pub(super) batch_max: usize,
    pub(super) delay: Duration,
    /// The environment names the service itself.
    pub(super) is_named: bool,
}

impl Settings {
    /// Reads the environment; `None` if it does not turn traces on.
    ///
    /// # Errors
    /// The variable that is wrong, and what was expected.
    pub(crate) fn from_environment() -> Result<Option<Self>, String> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        // An empty variable is one that is not set (General SDK configuration).
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_on = ENDPOINTS.iter().any(|name| variable(name).is_some());
        let disabled = variable("OTEL_SDK_DISABLED");
        if !is_on || disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match variable("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(_) => return Err("OTEL_TRACES_EXPORTER: expected otlp or none".to_owned()),
        }
        for name in ENDPOINTS {
            if variable(name).is_some_and(|value| !is_url(&value)) {
                return Err(format!(
                    "{name}: expected http://HOST:PORT or https://HOST:PORT"
                ));
            }
        }
        for name in PROTOCOLS {
            if variable(name).is_some_and(|value| value != "http/protobuf") {
                return Err(format!("{name}: expected http/protobuf"));
            }
        }
        let number = |name: &str, default: u64, max: u64| match variable(name) {
            None => Ok(default),
            Some(value) => value
                .parse()
                .ok()
                .filter(|number| (1..=max).contains(number))
                .ok_or_else(|| format!("{name}: expected a number from 1 to {max}")),
        };
        let queue_max = number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_DEFAULT, 1 << 16)?;
        let batch_max = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_DEFAULT, 1 << 13)?;
        let delay = number("OTEL_BSP_SCHEDULE_DELAY", DELAY_DEFAULT_MS, 600_000)?;
        let sampler = variable("OTEL_TRACES_SAMPLER");
        let sampler = sampler.as_deref().unwrap_or(SAMPLER_DEFAULT);
        let resource = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        Ok(Some(Self {
            sampler: Sampler::named(sampler, variable("OTEL_TRACES_SAMPLER_ARG").as_deref())?,
            queue_max: queue_max as usize,
            batch_max: batch_max.min(queue_max) as usize,
            delay: Duration::from_millis(delay),
            is_named: variable("OTEL_SERVICE_NAME").is_some() || resource.contains("service.name="),
        }))
    }
}

fn is_url(text: &str) -> bool {
    let uri = text.parse::<http::Uri>().ok();
    uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::read(|name| {
            let found = variables.iter().find(|(each, _)| *each == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ON: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn an_endpoint_turns_traces_on() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        let settings = read(&[ON]).unwrap().unwrap();
        assert_eq!(settings.queue_max, 2_048);
        assert!(!settings.is_named);
        let alone = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://collector/v1/traces",
        );
        assert!(read(&[alone]).unwrap().is_some());
        assert_eq!(read(&[ON, ("OTEL_SDK_DISABLED", "True")]), Ok(None));
        assert!(read(&[ON, ("OTEL_SDK_DISABLED", "1")]).unwrap().is_some());
        assert_eq!(read(&[ON, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for wrong in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            let error = read(&[ON, wrong]).unwrap_err();
            assert!(error.starts_with(wrong.0), "{error}");
        }
        let share = ("OTEL_TRACES_SAMPLER_ARG", "2");
        let error = read(&[ON, ("OTEL_TRACES_SAMPLER", "traceidratio"), share]).unwrap_err();
        assert!(error.starts_with(share.0), "{error}");
    }
}
