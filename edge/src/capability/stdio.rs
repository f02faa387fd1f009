//! What a component writes to its standard output and error: lines of this process's log,
//! each with the component's id.
//!
//! It does NOT interpret the lines.

use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// The longest line that is logged as one.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Output,
    Error,
}

/// One of a component's two streams.
#[derive(Debug, Clone)]
pub(crate) struct LogLines {
    component: Arc<str>,
    channel: Channel,
}

impl LogLines {
    pub(crate) fn new(component: &str, channel: Channel) -> Self {
        Self {
            component: component.into(),
            channel,
        }
    }

    fn log(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        match self.channel {
            Channel::Output => tracing::info!(component = &*self.component, "{line}"),
            Channel::Error => tracing::warn!(component = &*self.component, "{line}"),
        }
    }
}

impl IsTerminal for LogLines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogLines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Writer {
            lines: self.clone(),
            pending: BytesMut::new(),
        })
    }
}

struct Writer {
    lines: LogLines,
    pending: BytesMut,
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        for &byte in bytes {
            if byte == b'\n' || self.pending.len() >= LINE_BYTES_MAX {
                let line = self.pending.split();
                self.lines.log(&line);
            }
            if byte != b'\n' {
                self.pending.extend_from_slice(&[byte]);
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let rest = self.pending.split();
        self.lines.log(&rest);
    }
}
