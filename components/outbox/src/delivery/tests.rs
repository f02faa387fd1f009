//! Delivery against a receiver that fails in every way, over a real SQLite.
//!
//! The fake receiver applies by id, as the real ones do; it does not know the queue.

use super::*;
use futures::executor::block_on;
use records::file::FileDatabase;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

const URL: &str = "http://receiver.test/items";
const OUTBOX: Outbox = Outbox::new("usage", URL);

#[derive(Default)]
struct Receiver {
    /// First arrivals in order, and how often each came.
    order: RefCell<Vec<u64>>,
    times: RefCell<BTreeMap<u64, u32>>,
    refuses: Option<u64>,
    /// Calls from here on answer with this.
    then: Cell<Option<(u32, Result<u16, &'static str>)>>,
    calls: Cell<u32>,
    largest: Cell<usize>,
}

impl Transport for Receiver {
    async fn post(&self, url: &str, body: String) -> Result<u16, SendError> {
        assert_eq!(url, URL);
        self.calls.set(self.calls.get() + 1);
        self.largest.set(self.largest.get().max(body.len()));
        if let Some((after, answer)) = self.then.get()
            && self.calls.get() > after
        {
            return answer.map_err(|words| SendError(words.to_owned()));
        }
        let batch: serde_json::Value = serde_json::from_str(&body).unwrap();
        let ids: Vec<u64> = batch["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["n"].as_u64().unwrap())
            .collect();
        if self.refuses.is_some_and(|refused| ids.contains(&refused)) {
            return Ok(422);
        }
        for id in ids {
            let mut times = self.times.borrow_mut();
            let times = times.entry(id).or_default();
            *times += 1;
            if *times == 1 {
                self.order.borrow_mut().push(id);
            }
        }
        Ok(204)
    }
}

fn filled(count: u64) -> FileDatabase {
    let database = FileDatabase::in_memory().unwrap();
    for n in 0..count {
        put(&database, n);
    }
    database
}

fn put(database: &FileDatabase, n: u64) {
    block_on(OUTBOX.put_in(database, &format!("id-{n}"), &format!("{{\"n\":{n}}}"), 0)).unwrap();
}

fn drain(database: &FileDatabase, receiver: &Receiver) -> Result<u32, OutboxError> {
    block_on(OUTBOX.drain_through(database, receiver, &|_: &str| {}))
}

fn waiting(database: &FileDatabase) -> u32 {
    block_on(OUTBOX.waiting_in(database)).unwrap()
}

#[test]
fn everything_arrives_in_order_and_once() {
    let (database, receiver) = (filled(250), Receiver::default());
    assert_eq!(drain(&database, &receiver), Ok(250));
    assert_eq!(*receiver.order.borrow(), (0..250).collect::<Vec<_>>());
    assert_eq!(receiver.calls.get(), 3);
    assert!(receiver.times.borrow().values().all(|times| *times == 1));
    assert_eq!(waiting(&database), 0);
    assert_eq!(drain(&database, &receiver), Ok(0));
}

#[test]
fn one_call_does_a_bounded_amount_of_work() {
    let (database, receiver) = (filled(1_050), Receiver::default());
    assert_eq!(drain(&database, &receiver), Ok(1_000));
    assert_eq!(drain(&database, &receiver), Ok(50));
}

#[test]
fn a_refused_item_is_set_aside_and_the_others_pass() {
    let database = filled(5);
    let receiver = Receiver {
        refuses: Some(2),
        ..Receiver::default()
    };
    let said = RefCell::new(Vec::new());
    let log = |line: &str| said.borrow_mut().push(line.to_owned());
    assert_eq!(
        block_on(OUTBOX.drain_through(&database, &receiver, &log)),
        Ok(4)
    );
    assert_eq!(*receiver.order.borrow(), [0, 1, 3, 4]);
    assert_eq!(block_on(OUTBOX.dead_in(&database)), Ok(1));
    assert_eq!(waiting(&database), 0);
    assert_eq!(said.borrow().len(), 1);
    assert!(
        !said.borrow()[0].contains("id-2"),
        "a log line holds no content: {said:?}"
    );
    // It stays aside: neither sent again, nor taken a second time under its id.
    put(&database, 2);
    assert_eq!(drain(&database, &receiver), Ok(0));
}

#[test]
fn a_receiver_that_is_away_loses_nothing() {
    for answer in [
        Err("connection refused"),
        Ok(500),
        Ok(503),
        Ok(429),
        Ok(404),
        Ok(401),
        Ok(302),
    ] {
        let (database, receiver) = (filled(150), Receiver::default());
        receiver.then.set(Some((1, answer)));
        let error = drain(&database, &receiver).unwrap_err();
        assert!(
            matches!(error, OutboxError::Undelivered { delivered: 100, .. }),
            "{error}"
        );
        assert_eq!(waiting(&database), 50, "{answer:?}");
        assert_eq!(block_on(OUTBOX.dead_in(&database)), Ok(0));
        receiver.then.set(None);
        assert_eq!(drain(&database, &receiver), Ok(50));
        assert_eq!(*receiver.order.borrow(), (0..150).collect::<Vec<_>>());
    }
}

#[test]
fn away_in_the_middle_of_a_refused_batch_keeps_the_rest() {
    let database = filled(6);
    let receiver = Receiver {
        refuses: Some(1),
        ..Receiver::default()
    };
    // The batch, then items 0, 1 and 2; the fifth call finds nobody.
    receiver.then.set(Some((4, Ok(503))));
    assert!(drain(&database, &receiver).is_err());
    assert_eq!(waiting(&database), 3);
    receiver.then.set(None);
    assert_eq!(drain(&database, &receiver), Ok(3));
    assert_eq!(*receiver.order.borrow(), [0, 2, 3, 4, 5]);
}

#[test]
fn a_batch_is_bounded_in_bytes() {
    let database = FileDatabase::in_memory().unwrap();
    for n in 0..5 {
        let body = format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(900_000));
        block_on(OUTBOX.put_in(&database, &format!("id-{n}"), &body, 0)).unwrap();
    }
    let receiver = Receiver::default();
    assert_eq!(drain(&database, &receiver), Ok(5));
    assert_eq!(receiver.calls.get(), 3);
    assert!(receiver.largest.get() <= BATCH_BYTES_MAX);
}

/// A receiver that takes the batch while the answer gets lost; and another drain runs meanwhile.
struct Racing<'a> {
    receiver: &'a Receiver,
    database: &'a FileDatabase,
    nested: Cell<bool>,
}

impl Transport for Racing<'_> {
    async fn post(&self, url: &str, body: String) -> Result<u16, SendError> {
        let status = self.receiver.post(url, body).await?;
        if self.nested.replace(false) {
            OUTBOX
                .put_in(self.database, "id-1000", "{\"n\":1000}", 0)
                .await
                .unwrap();
            let other = OUTBOX.drain_through(self.database, self.receiver, &|_: &str| {});
            // Boxed, because the type of a drain inside a drain would have no end.
            let other: std::pin::Pin<Box<dyn Future<Output = _>>> = Box::pin(other);
            assert_eq!(other.await, Ok(151));
        }
        Ok(status)
    }
}

#[test]
fn two_drains_at_once_deliver_twice_at_most_and_lose_nothing() {
    let (database, receiver) = (filled(150), Receiver::default());
    let racing = Racing {
        receiver: &receiver,
        database: &database,
        nested: Cell::new(true),
    };
    let drained = block_on(OUTBOX.drain_through(&database, &racing, &|_: &str| {}));
    assert_eq!(drained, Ok(100));
    assert_eq!(waiting(&database), 0);
    let times = receiver.times.borrow();
    assert_eq!(times.len(), 151);
    assert!(times.values().all(|times| *times <= 2));
    let mut order = receiver.order.borrow().clone();
    assert_eq!(order.pop(), Some(1_000));
    assert_eq!(order, (0..150).collect::<Vec<_>>());
}

#[test]
fn threads_that_put_and_drain_the_same_file_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    // SQLite does not wait for others while it changes a new file to WAL.
    drop(FileDatabase::open(&path).unwrap());
    let arrived = std::sync::Mutex::new(std::collections::BTreeSet::new());
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (path, arrived) = (&path, &arrived);
            scope.spawn(move || {
                let database = FileDatabase::open(path).unwrap();
                let receiver = Receiver::default();
                for n in 0..25 {
                    put(&database, thread * 100 + n);
                    if n % 10 == 9 {
                        drain(&database, &receiver).unwrap();
                    }
                }
                drain(&database, &receiver).unwrap();
                arrived
                    .lock()
                    .unwrap()
                    .extend(receiver.times.borrow().keys().copied());
            });
        }
    });
    let database = FileDatabase::open(&path).unwrap();
    let receiver = Receiver::default();
    drain(&database, &receiver).unwrap();
    arrived
        .lock()
        .unwrap()
        .extend(receiver.times.borrow().keys().copied());
    assert_eq!(arrived.lock().unwrap().len(), 100);
    assert_eq!(waiting(&database), 0);
}
