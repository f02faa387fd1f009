//! Exactly once, over a real SQLite: duplicates, any order, races, and batches that are wrong.
//!
//! The reference is a plain sum over distinct ids.

use super::*;
use crate::schema;
use futures::executor::block_on;
use records::file::FileDatabase;
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("../../golden/usage-event.json");

fn opened() -> FileDatabase {
    let database = FileDatabase::in_memory().unwrap();
    block_on(records::migrate(&database, schema::STEPS)).unwrap();
    database
}

fn event(n: u64) -> Event {
    let golden: Event = serde_json::from_str(GOLDEN).unwrap();
    Event {
        request_id: format!("req_{n}"),
        project_id: format!("proj_{}", n % 3),
        user_id: n.is_multiple_of(2).then(|| "user_1".to_owned()),
        prompt_tokens: u32::try_from(n * 7 % 1_000).unwrap(),
        completion_tokens: u32::try_from(n * 13 % 500).unwrap(),
        ..golden
    }
}

fn body(events: &[Event]) -> Vec<u8> {
    json!({ "items": events }).to_string().into_bytes()
}

fn applied(database: &FileDatabase, events: &[Event]) -> (u64, u64) {
    let answer = block_on(apply(database, &body(events), 5))
        .unwrap()
        .body
        .unwrap();
    (
        answer["applied"].as_u64().unwrap(),
        answer["known"].as_u64().unwrap(),
    )
}

fn sums(database: &FileDatabase) -> BTreeMap<String, (i64, i64, i64)> {
    let sql = "SELECT project_id, count(*), sum(prompt_tokens), sum(completion_tokens)
        FROM usage GROUP BY 1";
    let rows = block_on(database.execute(sql, vec![])).unwrap();
    let sums = |row: &records::Row| {
        let of = |column| row.integer(column).unwrap();
        (row.text(0).unwrap().to_owned(), (of(1), of(2), of(3)))
    };
    rows.iter().map(sums).collect()
}

fn expected(count: u64) -> BTreeMap<String, (i64, i64, i64)> {
    let mut sums = BTreeMap::new();
    for event in (0..count).map(event) {
        let sum: &mut (i64, i64, i64) = sums.entry(event.project_id).or_default();
        sum.0 += 1;
        sum.1 += i64::from(event.prompt_tokens);
        sum.2 += i64::from(event.completion_tokens);
    }
    sums
}

/// splitmix64.
fn below(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) % bound
}

/// Sends until all events have gone out at least once, in overlapping batches in any order.
fn deliver(database: &FileDatabase, seed: u64, count: u64) {
    let mut dice = seed;
    let mut open: Vec<u64> = (0..count).collect();
    while !open.is_empty() {
        let size = 1 + below(&mut dice, 20);
        let batch: Vec<u64> = (0..size).map(|_| below(&mut dice, count)).collect();
        let first = open.swap_remove(below(&mut dice, open.len() as u64) as usize);
        let events: Vec<Event> = batch.into_iter().chain([first, first]).map(event).collect();
        applied(database, &events);
    }
}

#[test]
fn the_committed_event_is_stored_as_it_is() {
    let database = opened();
    let golden: Event = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(
        serde_json::to_string_pretty(&golden).unwrap(),
        GOLDEN.trim_end()
    );
    assert_eq!(applied(&database, &[golden]), (1, 0));
    let row = &block_on(database.execute("SELECT * FROM usage", vec![])).unwrap()[0];
    let text = |column| row.text(column).unwrap().to_owned();
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 6].map(text),
        [
            "req_1",
            "org_1",
            "proj_1",
            "user_1",
            "key_1",
            "skerry-demo",
            "local"
        ]
    );
    let numbers: Vec<i64> = (7..17).map(|column| row.integer(column).unwrap()).collect();
    assert_eq!(
        numbers,
        [120, 64, 30, 0, 2, 1, 1_750_000_000_123, 850, 5, 1]
    );
}

#[test]
fn a_ledger_and_events_from_before_estimates_go_on() {
    let database = FileDatabase::in_memory().unwrap();
    block_on(records::migrate(&database, &schema::STEPS[..1])).unwrap();
    let old = "INSERT INTO usage VALUES ('req_0', 'org_1', 'p', NULL, 'k', 'm', 'b',
        1, 0, 1, 0, 1, 0, 5, 5, 5)";
    block_on(database.execute(old, vec![])).unwrap();
    block_on(records::migrate(&database, schema::STEPS)).unwrap();
    let queued = GOLDEN.replace("  \"estimated\": true,\n", "");
    assert_ne!(queued, GOLDEN);
    let queued = format!("{{\"items\":[{queued}]}}");
    block_on(apply(&database, queued.as_bytes(), 5)).unwrap();
    applied(&database, &[event(7)]);
    let sql = "SELECT estimated FROM usage ORDER BY request_id";
    let rows = block_on(database.execute(sql, vec![])).unwrap();
    let marks: Vec<i64> = rows.iter().map(|row| row.integer(0).unwrap()).collect();
    assert_eq!(marks, [0, 0, 1]);
}

#[test]
fn an_id_is_applied_once_and_the_first_stays() {
    let database = opened();
    assert_eq!(applied(&database, &[event(1), event(2), event(1)]), (2, 1));
    let other = Event {
        prompt_tokens: 999_999,
        ..event(1)
    };
    assert_eq!(applied(&database, &[other, event(3)]), (1, 1));
    assert_eq!(applied(&database, &[]), (0, 0));
    let mut all = expected(4);
    all.get_mut("proj_0").unwrap().0 -= 1;
    assert_eq!(
        sums(&database),
        all,
        "all but event 0, whose tokens are none"
    );
}

#[test]
fn duplicates_in_any_order_add_up_exactly() {
    for seed in 0..10 {
        let database = opened();
        deliver(&database, seed, 60);
        assert_eq!(sums(&database), expected(60), "seed {seed}");
    }
}

#[test]
fn racing_senders_add_up_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let path = &path;
            scope.spawn(move || {
                let database = FileDatabase::open(path).unwrap();
                block_on(records::migrate(&database, schema::STEPS)).unwrap();
                deliver(&database, seed, 40);
            });
        }
    });
    assert_eq!(sums(&FileDatabase::open(&path).unwrap()), expected(40));
}

#[test]
fn a_batch_with_one_wrong_event_applies_nothing() {
    let database = opened();
    let wrong = [
        Event {
            request_id: String::new(),
            ..event(2)
        },
        Event {
            model: "m".repeat(257),
            ..event(2)
        },
        Event {
            user_id: Some(String::new()),
            ..event(2)
        },
        Event {
            started_at_ms: i64::MAX,
            ..event(2)
        },
    ];
    for wrong in wrong {
        let answer = block_on(apply(&database, &body(&[event(1), wrong]), 0));
        assert_eq!(answer.unwrap_err().status(), 400);
    }
    let many: Vec<Event> = (0..1_001).map(event).collect();
    assert_eq!(
        block_on(apply(&database, &body(&many), 0))
            .unwrap_err()
            .status(),
        400
    );
    for body in [
        "",
        "[]",
        "{}",
        r#"{"items":[{}]}"#,
        r#"{"items":[{"request_id":1}]}"#,
    ] {
        let answer = block_on(apply(&database, body.as_bytes(), 0));
        assert_eq!(answer.unwrap_err().status(), 400, "{body}");
    }
    let negative = GOLDEN.replace("120", "-120");
    let negative = format!("{{\"items\":[{negative}]}}");
    assert!(block_on(apply(&database, negative.as_bytes(), 0)).is_err());
    assert!(sums(&database).is_empty());
}
