//! The log on stderr, and what is said to the person at the terminal.
//!
//! It does NOT decide what is worth saying.

use std::io::{IsTerminal as _, Write as _};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged where `EDGE_LOG` does not say: the libraries' noise is left out.
const FILTER: &str = "info,wasmtime=warn,sled=warn,hyper=warn";

/// Starts logging.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("EDGE_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start, as in a test, changes nothing.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Says a line to the person at the terminal.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Says what went wrong.
pub(crate) fn say_error(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "error: {line}");
}
