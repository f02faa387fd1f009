//! The outbox inside a component: the host's database, clock and HTTP.
//!
//! It is bindings and conversion only; the queue and the delivery do not know it.

use crate::{Outbox, OutboxError, SendError, Transport};
use bytes::Bytes;
use futures::future::{Either, select};
use records::spin::SpinDatabase;
use spin_sdk::http::{FullBody, send};
use std::cell::OnceCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The SQLite database that the manifest grants for outboxes.
const DATABASE: &str = "outbox";
/// A receiver that has not answered by then is away. A tick comes every few seconds.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    /// Opened once in the life of an instance. No statement begins a transaction, so that calls
    /// may share it.
    static OPENED: OnceCell<Rc<SpinDatabase>> = const { OnceCell::new() };
}

async fn database() -> Result<Rc<SpinDatabase>, OutboxError> {
    if let Some(database) = OPENED.with(|opened| opened.get().cloned()) {
        return Ok(database);
    }
    let database = Rc::new(SpinDatabase::open(DATABASE).await?);
    Ok(OPENED.with(|opened| Rc::clone(opened.get_or_init(|| database))))
}

impl Outbox {
    /// Puts a JSON body under an id. Durable when it returns; a second call with the same id
    /// while the first waits changes nothing.
    pub async fn put(&self, id: &str, body: &str) -> Result<(), OutboxError> {
        let database = database().await?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        self.put_in(&*database, id, body, now_ms).await
    }

    /// Delivers what waits, in order and in bounded batches; the number delivered.
    pub async fn drain(&self) -> Result<u32, OutboxError> {
        let database = database().await?;
        self.drain_through(&*database, &Http, &log).await
    }
}

struct Http;

impl Transport for Http {
    async fn post(&self, url: &str, body: String) -> Result<u16, SendError> {
        let request = http::Request::post(url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(FullBody::new(Bytes::from(body)))
            .map_err(|error| SendError(error.to_string()))?;
        let answer = pin!(send(request));
        let timeout = pin!(spin_sdk::time::sleep(POST_TIMEOUT));
        match select(answer, timeout).await {
            Either::Left((Ok(response), _)) => Ok(response.status().as_u16()),
            Either::Left((Err(error), _)) => Err(SendError(error.to_string())),
            Either::Right(((), _)) => Err(SendError("no answer in time".to_owned())),
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a component's standard error is its log"
)]
fn log(line: &str) {
    eprintln!("{line}");
}
