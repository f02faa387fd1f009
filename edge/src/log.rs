//! The log on stderr, and what is said to the person at the terminal.
//!
//! A thread of its own writes the lines, so that a reader which stops reading stops nobody:
//! then lines are dropped, and counted. It does NOT decide what is worth saying.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
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

/// Lines that may wait to be written: some 3 MB of requests.
const WAITING_MAX: usize = 8_192;
/// What is written at once where many wait.
const WRITE_BYTES: usize = 64 << 10;

/// How many lines were dropped so far.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The log: when it goes, what it holds is written.
#[must_use]
pub(crate) struct Log {
    _writer: WorkerGuard,
}

/// Starts logging.
pub(crate) fn start(format: LogFormat) -> Log {
    let (lines, writer) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_MAX)
        .thread_name("log")
        .finish(BufWriter::with_capacity(WRITE_BYTES, std::io::stderr()));
    let filter = EnvFilter::try_from_env("EDGE_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let _ = DROPPED.set(lines.error_counter());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(lines);
    // A second start, as in a test, changes nothing.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Log { _writer: writer }
}

/// Lines that were dropped because nobody took them.
pub(crate) fn dropped() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
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
