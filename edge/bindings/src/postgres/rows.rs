//! The rows of an answer: gathered whole, within a bound, or passed on as they come.

use crate::generated::spin::postgres4_2_0::postgres as v4;
use crate::port::{
    ANSWER_BYTES_MAX, PostgresColumn, PostgresError, PostgresRow, PostgresRows, PostgresValue,
};
use crate::progress::Progress;
use futures::{Stream, StreamExt as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult};

/// A whole answer.
pub(super) struct Answer {
    pub(super) columns: Vec<PostgresColumn>,
    pub(super) rows: Vec<PostgresRow>,
}

/// Gathers all rows, unless they take more than [`ANSWER_BYTES_MAX`].
pub(super) async fn collect(mut answer: PostgresRows) -> Result<Answer, PostgresError> {
    let mut rows = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = answer.rows.next().await {
        let row = row?;
        bytes = bytes.saturating_add(size_of_row(&row));
        check_size(bytes)?;
        rows.push(row);
    }
    Ok(Answer {
        columns: answer.columns,
        rows,
    })
}

fn check_size(bytes: usize) -> Result<(), PostgresError> {
    if bytes > ANSWER_BYTES_MAX {
        let message = format!("query result exceeds limit of {ANSWER_BYTES_MAX} bytes");
        return Err(PostgresError::QueryFailed(message));
    }
    Ok(())
}

/// What a row takes in memory.
fn size_of_row(row: &[PostgresValue]) -> usize {
    let texts = |all: &[Option<String>]| -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        size_of_val(all) + all.iter().map(length).sum::<usize>()
    };
    let held = |value: &PostgresValue| match value {
        PostgresValue::Text(text) | PostgresValue::Uuid(text) | PostgresValue::Decimal(text) => {
            text.len()
        }
        PostgresValue::Binary(bytes)
        | PostgresValue::Jsonb(bytes)
        | PostgresValue::Unsupported(bytes) => bytes.len(),
        PostgresValue::ArrayInt32(all) => size_of_val(all.as_slice()),
        PostgresValue::ArrayInt64(all) => size_of_val(all.as_slice()),
        PostgresValue::ArrayDecimal(all) | PostgresValue::ArrayText(all) => texts(all),
        _ => 0,
    };
    size_of_val(row) + row.iter().map(held).sum::<usize>()
}

type RowStream = Pin<Box<dyn Stream<Item = Result<PostgresRow, PostgresError>> + Send>>;

/// Passes rows on, one at a time, and says at the end whether there was an error.
pub(super) struct Rows {
    rows: RowStream,
    end: Option<oneshot::Sender<Result<(), v4::Error>>>,
    progress: Arc<Progress>,
}

impl Rows {
    pub(super) fn new(
        rows: RowStream,
        progress: Arc<Progress>,
    ) -> (Self, oneshot::Receiver<Result<(), v4::Error>>) {
        let (end, ended) = oneshot::channel();
        let rows = Self {
            rows,
            end: Some(end),
            progress,
        };
        (rows, ended)
    }

    fn finish(&mut self, end: Result<(), PostgresError>) -> StreamResult {
        if let Some(sender) = self.end.take() {
            // Whoever does not wait for the end does not want to know.
            let _ = sender.send(end.map_err(Into::into));
        }
        StreamResult::Dropped
    }
}

impl<D> StreamProducer<D> for Rows {
    type Item = Vec<v4::DbValue>;
    type Buffer = Option<Self::Item>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let next = self.rows.as_mut().poll_next(cx);
        if next.is_pending() && finish {
            return Poll::Ready(Ok(StreamResult::Cancelled));
        }
        let next = ready!(next);
        self.progress.made();
        Poll::Ready(Ok(match next {
            None => self.finish(Ok(())),
            Some(Err(error)) => self.finish(Err(error)),
            Some(Ok(row)) => match check_size(size_of_row(&row)) {
                Err(error) => self.finish(Err(error)),
                Ok(()) => {
                    destination.set_buffer(Some(row.into_iter().map(Into::into).collect()));
                    StreamResult::Completed
                }
            },
        }))
    }
}
