//! Log lines for files and collectors: what tracing-subscriber writes to a terminal, without
//! its colours and what they cost: a busy host writes a line for each request.
//!
//! Control characters are escaped, so that nothing a client or a component says begins a
//! line of its own. It does NOT know what a line is about.

use std::fmt::{self, Debug, Write as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// `TIME LEVEL SPAN{FIELDS}: TARGET: MESSAGE FIELDS`
pub(super) struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        SystemTime.format_time(&mut writer)?;
        writer.write_char(' ')?;
        let level = metadata.level().as_str();
        for _ in level.len().."ERROR".len() {
            writer.write_char(' ')?;
        }
        writer.write_str(level)?;
        writer.write_char(' ')?;
        if let Some(scope) = context.event_scope() {
            for span in scope.from_root() {
                writer.write_str(span.name())?;
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                    && !fields.is_empty()
                {
                    write!(writer, "{{{fields}}}")?;
                }
                writer.write_char(':')?;
            }
            writer.write_char(' ')?;
        }
        writer.write_str(metadata.target())?;
        writer.write_char(':')?;
        let mut fields = Fields {
            writer: &mut writer,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        writer.write_char('\n')
    }
}

/// Writes ` NAME=VALUE` for each field, and the message as it is.
struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut OneLine<'_, '_>) -> fmt::Result) {
        // What the `log` crate's records say of where they come from is in the target.
        if self.result.is_err() || field.name().starts_with("log.") {
            return;
        }
        self.result = self.name(field.name());
        if self.result.is_ok() {
            self.result = value(&mut OneLine(self.writer));
        }
    }

    fn name(&mut self, name: &str) -> fmt::Result {
        self.writer.write_char(' ')?;
        if name == "message" {
            return Ok(());
        }
        self.writer
            .write_str(name.strip_prefix("r#").unwrap_or(name))?;
        self.writer.write_char('=')
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |line| write!(line, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.field(field, |line| line.write_str(value));
        }
        self.field(field, |OneLine(writer)| {
            let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
            if !value.bytes().all(is_plain) {
                return write!(writer, "{value:?}");
            }
            writer.write_char('"')?;
            writer.write_str(value)?;
            writer.write_char('"')
        });
    }
}

/// Passes text on with its control characters escaped.
struct OneLine<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(char::is_control) {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut chars = from.chars();
            if let Some(control) = chars.next() {
                write!(self.0, "{}", control.escape_debug())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged by `events`, without the time: by this format, and by the library's.
    fn logged(events: impl Fn()) -> [String; 2] {
        let (plain, full) = (Written::default(), Written::default());
        let (to_plain, to_full) = (plain.clone(), full.clone());
        let builder = || tracing_subscriber::fmt().with_ansi(false);
        let subscriber = builder()
            .event_format(Plain)
            .with_writer(move || to_plain.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, &events);
        let subscriber = builder().with_writer(move || to_full.clone()).finish();
        tracing::subscriber::with_default(subscriber, &events);
        [plain, full].map(|written| {
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            let line = |line: &str| line.split_once(' ').unwrap().1.to_owned();
            text.lines().map(line).collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn a_line_looks_as_the_library_writes_it() {
        let [plain, full] = logged(|| {
            let words = "a \"quoted\" word";
            tracing::info!(
                target: "access", client = %"127.0.0.1:1", path = "/a b", words, status = 200_u16,
                ms = 1.5, whole = true, end = ?Some(1), less = -3, r#type = "x", empty = "",
                "request"
            );
            tracing::error!("plain words {}", 1);
            tracing::warn!(error = %"é", "héllo");
            let span = tracing::info_span!("outer", id = 7);
            span.in_scope(|| tracing::info_span!("inner").in_scope(|| tracing::info!("within")));
        });
        assert_eq!(plain, full);
        assert!(plain.contains(r#"INFO access: request client=127.0.0.1:1 path="/a b""#));
    }

    #[test]
    fn what_somebody_says_stays_in_its_line() {
        let [plain, _] = logged(|| {
            tracing::info!(said = %"a\n2026-01-01 ERROR forged\u{1b}[31m", text = "b\nc", "d\re");
        });
        assert_eq!(
            plain,
            " INFO edge::log::plain::tests: d\\re \
             said=a\\n2026-01-01 ERROR forged\\u{1b}[31m text=\"b\\nc\""
        );
    }
}
