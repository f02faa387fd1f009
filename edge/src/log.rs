//! The log on stderr, and what is said to the person at the terminal.
//!
//! A thread of its own writes the lines, so that a reader which stops reading stops nobody:
//! then lines are dropped, and counted. It does NOT decide what is worth saying.

mod plain;

use plain::Plain;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::OnceLock;
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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

/// How long lines gather after some were written: on a busy host a system call, and the wake
/// of a thread, are for many.
const GATHERING: Duration = Duration::from_millis(2);

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
        .finish(Gathering(BufWriter::with_capacity(
            WRITE_BYTES,
            io::stderr(),
        )));
    let filter = EnvFilter::try_from_env("EDGE_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let _ = DROPPED.set(lines.error_counter());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines);
    // A second start, as in a test, changes nothing.
    let ours = filter_fn(is_for_operators);
    let _ = match format {
        LogFormat::Text if io::stderr().is_terminal() => log.finish().with(ours).try_init(),
        LogFormat::Text => {
            let log = log.with_ansi(false).event_format(Plain);
            log.finish().with(ours).try_init()
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true);
            log.finish().with(ours).try_init()
        }
    };
    Log { _writer: writer }
}

/// Is it something that is logged at all, whatever `EDGE_LOG` says? Libraries tell in their
/// finest levels what they read and write, which is what clients and components say.
fn is_for_operators(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
    is_ours || *metadata.level() <= Level::INFO
}

/// Writes what has come, and then gives the next lines time to come.
struct Gathering<W>(W);

impl<W: Write> Write for Gathering<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    /// Called by the thread that writes when no further line waits.
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        std::thread::sleep(GATHERING);
        Ok(())
    }
}

/// Lines that were dropped because nobody took them.
pub(crate) fn dropped() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}

/// The beginning of a text that may be longer than a line of the log should be.
pub(crate) fn beginning(text: &str, chars_max: usize) -> &str {
    if text.len() <= chars_max {
        return text;
    }
    let end = text.char_indices().nth(chars_max);
    end.map_or(text, |(end, _)| &text[..end])
}

/// Says a line to the person at the terminal.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Says what went wrong.
pub(crate) fn say_error(line: &str) {
    let _ = writeln!(io::stderr().lock(), "error: {line}");
}

#[cfg(test)]
mod tests {
    use super::beginning;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(beginning("äöü", 2), "äö");
        assert_eq!(beginning("äöü", 3), "äöü");
        assert_eq!(beginning("abc", 9), "abc");
        assert_eq!(beginning("abc", 0), "");
    }
}
