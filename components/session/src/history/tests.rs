//! Histories over a cache, records and an outbox in memory, each of which can fail.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use futures::executor::block_on;

use super::*;
use crate::wire::Role;

#[derive(Default)]
struct World {
    cached: RefCell<HashMap<String, Vec<u8>>>,
    /// By project and conversation.
    stored: RefCell<HashMap<(String, String), Vec<Message>>>,
    applied: RefCell<Vec<String>>,
    waiting: RefCell<Vec<(String, String)>>,
    reads: Cell<u32>,
    room_reads: Cell<u32>,
    is_full: Cell<bool>,
    owner: RefCell<Option<String>>,
    is_away: Cell<bool>,
    now_ms: Cell<u64>,
}

impl Cache for &World {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.cached.borrow().get(key).cloned()
    }

    async fn set(&self, key: &str, value: Vec<u8>) {
        self.cached.borrow_mut().insert(key.into(), value);
    }

    async fn delete(&self, key: &str) {
        self.cached.borrow_mut().remove(key);
    }
}

impl Records for &World {
    async fn messages(&self, project: &str, id: &str) -> Result<Messages, HistoryError> {
        self.reads.set(self.reads.get() + 1);
        if self.is_away.get() {
            return Err(HistoryError::Unavailable("away".into()));
        }
        let stored = self.stored.borrow();
        let messages = stored.get(&(project.into(), id.into())).cloned();
        Ok(Messages {
            messages: messages.ok_or(HistoryError::NotFound)?,
            owner: self.owner.borrow().clone(),
            is_full: self.is_full.get(),
        })
    }

    async fn room(&self, _: &str) -> Result<Room, HistoryError> {
        self.room_reads.set(self.room_reads.get() + 1);
        match self.is_away.get() {
            true => Err(HistoryError::Unavailable("away".into())),
            false => Ok(Room {
                is_full: self.is_full.get(),
            }),
        }
    }
}

impl Queue for &World {
    async fn put(&self, id: &str, body: &str) -> Result<(), HistoryError> {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|(other, _)| other == id) {
            waiting.push((id.into(), body.into()));
        }
        Ok(())
    }

    async fn drain(&self) -> Result<u32, String> {
        if self.is_away.get() && !self.waiting.borrow().is_empty() {
            return Err("away".into());
        }
        let turns = std::mem::take(&mut *self.waiting.borrow_mut());
        for (id, body) in &turns {
            let turn: Turn = serde_json::from_str(body).unwrap();
            if !self.applied.borrow().contains(id) {
                self.applied.borrow_mut().push(id.clone());
                let key = (turn.project_id, turn.conversation_id);
                if turn.refused {
                    continue;
                }
                self.stored
                    .borrow_mut()
                    .get_mut(&key)
                    .unwrap()
                    .extend(turn.messages);
            }
        }
        Ok(turns.len() as u32)
    }
}

impl World {
    fn new() -> Self {
        let world = Self::default();
        world.now_ms.set(1_000_000);
        world
            .stored
            .borrow_mut()
            .insert(("p".into(), "c".into()), vec![user("hello")]);
        world
    }

    fn history(&self) -> History<&Self, &Self, &Self> {
        History {
            cache: self,
            records: self,
            queue: self,
            now_ms: self.now_ms.get(),
        }
    }

    fn load(&self) -> Result<Vec<Message>, HistoryError> {
        self.load_as("u", false)
    }

    fn load_as(&self, owner: &str, sees_all: bool) -> Result<Vec<Message>, HistoryError> {
        let who = Reader {
            owner,
            sees_all,
            ..reader("p")
        };
        block_on(self.history().load(who, "c"))
    }

    fn append(&self, request_id: &str, text: &str) {
        self.append_as(request_id, text, Outcome::Answered);
    }

    fn append_as(&self, request_id: &str, text: &str, outcome: Outcome) {
        let messages = vec![user(text)];
        block_on(
            self.history()
                .append("p", "c", request_id, messages, outcome),
        )
        .unwrap();
    }

    fn after(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }
}

fn reader(project_id: &str) -> Reader<'_> {
    Reader {
        project_id,
        owner: "u",
        sees_all: false,
    }
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn unavailable<T>() -> Result<T, HistoryError> {
    Err(HistoryError::Unavailable("away".into()))
}

#[test]
fn a_history_is_read_once_in_thirty_seconds() {
    let world = World::new();
    for _ in 0..5 {
        assert_eq!(world.load(), Ok(vec![user("hello")]));
    }
    assert_eq!(world.reads.get(), 1);
    world.after(FRESH_MS);
    world.load().unwrap();
    assert_eq!(world.reads.get(), 2);
}

#[test]
fn another_projects_conversation_is_not_found_though_it_is_cached() {
    let world = World::new();
    world.load().unwrap();
    assert_eq!(
        block_on(world.history().load(reader("q"), "c")),
        Err(HistoryError::NotFound)
    );
    assert_eq!(
        block_on(world.history().load(reader("p"), "d")),
        Err(HistoryError::NotFound)
    );
}

#[test]
fn a_turn_is_seen_at_once_and_delivered() {
    let world = World::new();
    world.load().unwrap();
    world.append("r1", "two");
    assert_eq!(world.load(), Ok(vec![user("hello"), user("two")]));
    assert_eq!(world.reads.get(), 1, "from the cache");
    world.after(FRESH_MS);
    assert_eq!(
        world.load(),
        Ok(vec![user("hello"), user("two")]),
        "from the records"
    );
}

#[test]
fn a_request_is_appended_once() {
    let world = World::new();
    world.load().unwrap();
    world.append("r1", "two");
    world.append("r1", "two");
    assert_eq!(world.load().unwrap().len(), 2);
    world.cached.borrow_mut().clear();
    assert_eq!(world.load().unwrap().len(), 2);
}

#[test]
fn a_turn_is_seen_while_the_region_is_away_and_is_not_lost() {
    let world = World::new();
    world.load().unwrap();
    world.is_away.set(true);
    world.append("r1", "two");
    assert_eq!(world.load().unwrap().len(), 2);
    // Longer than fresh: stale is better than nothing, and has the turn.
    world.after(FRESH_MS);
    assert_eq!(world.load().unwrap().len(), 2);
    world.after(STALE_MS);
    assert_eq!(world.load(), unavailable());
    // A restart takes the cache along; the outbox is emptied before the records are asked.
    world.cached.borrow_mut().clear();
    assert_eq!(world.load(), unavailable());
    world.is_away.set(false);
    assert_eq!(world.load(), Ok(vec![user("hello"), user("two")]));
}

#[test]
fn a_turn_without_a_cached_history_makes_no_false_one() {
    let world = World::new();
    world.append("r1", "two");
    assert_eq!(world.load(), Ok(vec![user("hello"), user("two")]));
}

#[test]
fn a_deleted_conversation_is_forgotten() {
    let world = World::new();
    world.load().unwrap();
    world.stored.borrow_mut().clear();
    world.after(FRESH_MS);
    assert_eq!(world.load(), Err(HistoryError::NotFound));
    world.is_away.set(true);
    assert_eq!(world.load(), unavailable());
}

#[test]
fn a_long_history_is_not_cached() {
    let world = World::new();
    world.load().unwrap();
    let long = "x".repeat(ENTRY_BYTES_MAX);
    world.append("r1", &long);
    let is_cached = || world.cached.borrow().contains_key(&key("p", "c"));
    assert!(!is_cached());
    assert_eq!(world.load().unwrap().len(), 2);
    assert!(!is_cached());
}

#[test]
fn turns_are_bounded() {
    let world = World::new();
    let many = vec![user("x"); TURN_MESSAGES_MAX + 1];
    let appended = block_on(
        world
            .history()
            .append("p", "c", "r", many, Outcome::Answered),
    );
    assert_eq!(appended, Err(HistoryError::TooLong));
    assert!(world.waiting.borrow().is_empty());
}

#[test]
fn the_cached_entry_has_the_name_that_conversations_forgets() {
    let golden = include_str!("../../golden/cache-key.txt").trim();
    assert_eq!(key("proj_1", "conv_1"), golden);
    let golden = include_str!("../../golden/room-key.txt").trim();
    assert_eq!(room_key("proj_1"), golden);
}

#[test]
fn anothers_conversation_is_not_found_though_it_is_cached() {
    let world = World::new();
    *world.owner.borrow_mut() = Some("marta".into());
    for _ in 0..2 {
        assert_eq!(world.load_as("noor", false), Err(HistoryError::NotFound));
        assert_eq!(world.load_as("marta", false).unwrap().len(), 1);
        assert_eq!(world.load_as("noor", true).unwrap().len(), 1);
    }
    assert_eq!(world.reads.get(), 1, "the others are from the cache");
    world.is_away.set(true);
    world.after(FRESH_MS);
    assert_eq!(world.load_as("noor", false), Err(HistoryError::NotFound));
    assert_eq!(world.load_as("marta", false).unwrap().len(), 1);
}

#[test]
fn a_full_project_is_told_before_a_model_is_called() {
    let world = World::new();
    world.load().unwrap();
    world.is_full.set(true);
    assert_eq!(world.load().unwrap().len(), 1, "known for so long");
    world.after(ROOM_FRESH_MS);
    assert_eq!(world.load(), Err(HistoryError::Full));
    // What is not there is not found, and another's is no more told of.
    *world.owner.borrow_mut() = Some("marta".into());
    world.after(FRESH_MS);
    assert_eq!(world.load(), Err(HistoryError::NotFound));
    assert_eq!(world.load_as("marta", false), Err(HistoryError::Full));
    world.is_full.set(false);
    world.after(ROOM_FRESH_MS);
    assert_eq!(world.load_as("marta", false).unwrap().len(), 1);
}

#[test]
fn a_projects_room_is_read_once_in_five_seconds() {
    let world = World::new();
    for _ in 0..5 {
        world.load().unwrap();
    }
    assert_eq!(world.room_reads.get(), 0, "the history says it too");
    world.after(ROOM_FRESH_MS);
    for _ in 0..5 {
        world.load().unwrap();
    }
    assert_eq!((world.reads.get(), world.room_reads.get()), (1, 1));
    // Where the region is away, what is answered waits at the edge.
    world.is_full.set(true);
    world.is_away.set(true);
    world.after(ROOM_FRESH_MS);
    assert_eq!(world.load().unwrap().len(), 1);
}

#[test]
fn a_refused_turn_is_stored_and_is_no_history() {
    let world = World::new();
    world.load().unwrap();
    world.append_as("r1", "", Outcome::Refused);
    assert_eq!(world.load(), Ok(vec![user("hello")]));
    assert_eq!(*world.applied.borrow(), ["p/r1"]);
    world.after(FRESH_MS);
    assert_eq!(world.load(), Ok(vec![user("hello")]));
}
