//! Conversations over a real SQLite: their lives, the JSON that clients read, and turns that are
//! delivered twice.
//!
//! It stands where the door stands, so it does not test who is let in.

use crate::quota::{self, Quota};
use crate::routes::{self, Now, Public, Route};
use crate::{history, schema, turns};
use futures::executor::block_on;
use records::file::FileDatabase;
use regional::{Answer, ApiError, Asked, Principal, Role};
use serde_json::{Value as Json, json};
use std::sync::atomic::{AtomicU64, Ordering};

mod bounds;
mod owners;
mod quotas;

const NOW_MS: i64 = 1_750_000_000_000;

fn random(bytes: &mut [u8]) -> Result<(), ApiError> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let start = bytes.len() - next.len();
    bytes[start..].copy_from_slice(&next);
    Ok(())
}

fn key_of(project: &str, role: Role) -> Principal {
    Principal {
        organization_id: "org_1".into(),
        project_id: project.into(),
        user_id: None,
        key_id: "key_1".into(),
        roles: vec![role],
    }
}

struct Kept {
    database: FileDatabase,
    quota: Quota,
}

impl Kept {
    fn new() -> Self {
        let database = FileDatabase::in_memory().unwrap();
        block_on(records::migrate(&database, schema::STEPS)).unwrap();
        let quota = Quota::default();
        Self { database, quota }
    }

    fn ask_as(&self, who: &Principal, method: &str, url: &str, body: Json) -> Answer {
        let (path, query) = url
            .split_once('?')
            .map_or((url, None), |(path, query)| (path, Some(query)));
        let asked = Asked {
            method: method.into(),
            path: path.into(),
            query: query.map(str::to_owned),
            authorization: None,
            body: if body.is_null() {
                Vec::new()
            } else {
                body.to_string().into_bytes()
            },
        };
        let (database, quota) = (&self.database, &self.quota);
        let now = Now {
            ms: NOW_MS,
            random,
            quota,
        };
        let query = asked.query.as_deref();
        let answer = match routes::route(&asked) {
            Ok(Route::Public(route)) => routes::may(who, &route)
                .and_then(|()| block_on(routes::serve(database, who, &route, &asked, &now))),
            Ok(Route::Turns) => block_on(turns::apply(database, &asked.body, NOW_MS)),
            Ok(Route::History(project, id)) => {
                block_on(history::read(database, &project, &id, query, quota))
            }
            Ok(Route::Room(project)) => block_on(quota::room(database, &project, quota)),
            Ok(Route::Check) => panic!("reads variables only"),
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(Answer::from)
    }

    fn ask(&self, method: &str, url: &str, body: Json) -> Json {
        let answer = self.ask_as(&key_of("proj_1", Role::Member), method, url, body);
        assert_eq!(answer.status, 200, "{method} {url}: {:?}", answer.body);
        answer.body.unwrap()
    }

    fn create(&self) -> String {
        let made = self.ask("POST", "/v1/conversations", Json::Null);
        made["id"].as_str().unwrap().to_owned()
    }

    fn history(&self, id: &str) -> Json {
        let url = format!("/internal/projects/proj_1/conversations/{id}/messages");
        self.ask("GET", &url, Json::Null)["messages"].clone()
    }
}

#[test]
fn a_conversation_lives_and_ends() {
    let kept = Kept::new();
    let made = kept.ask(
        "POST",
        "/v1/conversations",
        json!({"metadata": {"topic": "demo"}}),
    );
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("conv_"));
    let expected = json!({"id": id, "object": "conversation", "created_at": NOW_MS / 1_000,
                          "metadata": {"topic": "demo"}});
    assert_eq!(made, expected);
    let url = format!("/v1/conversations/{id}");
    assert_eq!(kept.ask("GET", &url, Json::Null), expected);
    let changed = kept.ask("POST", &url, json!({"metadata": {}}));
    assert_eq!(changed["metadata"], json!({}));
    let gone = kept.ask("DELETE", &url, Json::Null);
    assert_eq!(
        gone,
        json!({"id": id, "object": "conversation.deleted", "deleted": true})
    );
    for method in ["GET", "DELETE"] {
        let answer = kept.ask_as(&key_of("proj_1", Role::Member), method, &url, Json::Null);
        assert_eq!(answer.status, 404);
        assert_eq!(answer.body.unwrap()["error"].as_object().unwrap().len(), 4);
    }
}

#[test]
fn another_projects_conversation_is_not_there() {
    let kept = Kept::new();
    let id = kept.create();
    let stranger = key_of("proj_2", Role::Owner);
    for (method, rest) in [
        ("GET", ""),
        ("POST", ""),
        ("DELETE", ""),
        ("GET", "/items"),
        ("POST", "/items"),
    ] {
        let body = match (method, rest) {
            ("POST", "") => json!({"metadata": {}}),
            ("POST", _) => json!({"items": [{"role": "user", "content": "x"}]}),
            _ => Json::Null,
        };
        let url = format!("/v1/conversations/{id}{rest}");
        assert_eq!(
            kept.ask_as(&stranger, method, &url, body).status,
            404,
            "{method} {url}"
        );
    }
    let url = format!("/internal/projects/proj_2/conversations/{id}/messages");
    assert_eq!(kept.ask_as(&stranger, "GET", &url, Json::Null).status, 404);
    let turn = json!({"items": [{"request_id": "r", "project_id": "proj_2", "conversation_id": id,
                                 "messages": [{"role": "user", "content": "planted"}]}]});
    assert_eq!(kept.ask("POST", "/internal/turns", turn)["stored"], 0);
    assert_eq!(kept.history(&id), json!([]));
}

fn turn(id: &str, request: &str) -> Json {
    json!({"request_id": request, "project_id": "proj_1", "conversation_id": id, "messages": [
        {"role": "user", "content": "12*7?"},
        {"role": "assistant", "content": "", "tool_calls":
            [{"id": "c1", "name": "calculator", "arguments": "{\"expression\":\"12*7\"}"}]},
        {"role": "tool", "content": "84", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is 84."},
    ]})
}

#[test]
fn a_turn_is_stored_once_and_comes_back_as_it_was() {
    let kept = Kept::new();
    let id = kept.create();
    let (first, second) = (turn(&id, "r1"), turn(&id, "r2"));
    let batch = json!({"items": [first, second]});
    assert_eq!(
        kept.ask("POST", "/internal/turns", batch.clone())["stored"],
        8
    );
    assert_eq!(kept.ask("POST", "/internal/turns", batch)["stored"], 0);
    let messages = kept.history(&id);
    assert_eq!(messages.as_array().unwrap().len(), 8);
    assert_eq!(
        json!(messages.as_array().unwrap()[..4]),
        turn(&id, "r1")["messages"]
    );
}

#[test]
fn items_have_openais_shapes_and_pages() {
    let kept = Kept::new();
    let id = kept.create();
    kept.ask(
        "POST",
        "/internal/turns",
        json!({"items": [turn(&id, "r1")]}),
    );
    let url = format!("/v1/conversations/{id}/items");
    let all = kept.ask("GET", &format!("{url}?order=asc"), Json::Null);
    let kinds: Vec<_> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        [
            "message",
            "function_call",
            "function_call_output",
            "message"
        ]
    );
    assert_eq!(
        all["data"][0]["content"],
        json!([{"type": "input_text", "text": "12*7?"}])
    );
    assert_eq!(all["data"][1]["name"], "calculator");
    assert_eq!(all["data"][2]["output"], "84");
    assert_eq!(all["data"][3]["content"][0]["type"], "output_text");
    assert_eq!(all["has_more"], false);

    let first = kept.ask("GET", &format!("{url}?limit=3"), Json::Null);
    assert_eq!(
        (&first["has_more"], &first["data"][0]),
        (&json!(true), &all["data"][3])
    );
    let after = first["last_id"].as_str().unwrap();
    let rest = kept.ask("GET", &format!("{url}?limit=3&after={after}"), Json::Null);
    assert_eq!(rest["data"], json!([all["data"][0]]));
}

#[test]
fn a_clients_own_items_become_history() {
    let kept = Kept::new();
    let id = kept.create();
    let items = json!({"items": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "assistant", "content": "hello"},
    ]});
    let made = kept.ask("POST", &format!("/v1/conversations/{id}/items"), items);
    assert_eq!(made["data"].as_array().unwrap().len(), 2);
    let expected =
        json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]);
    assert_eq!(kept.history(&id), expected);
}

#[test]
fn what_is_wrong_is_named() {
    let kept = Kept::new();
    let id = kept.create();
    let pairs: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!(""))).collect();
    let items = |item: Json| json!({"items": [item]});
    let cases = [
        ("", json!({"metadata": pairs}), "metadata"),
        ("", json!({"metadata": {"a": 1}}), "metadata"),
        ("", json!({"title": "x"}), "title"),
        ("", json!({"items": {}}), "items"),
        (
            "/x/items",
            items(json!({"role": "robot", "content": "x"})),
            "items[0].role",
        ),
        (
            "/x/items",
            items(json!({"role": "user", "content": 1})),
            "items[0].content",
        ),
        ("/x/items", items(json!({"type": "image"})), "items[0].type"),
        (
            "/x/items",
            items(json!({"role": "user", "content": "x", "a": 1})),
            "items[0].a",
        ),
        (
            "/x/items",
            items(json!({"type": "function_call", "call_id": "c"})),
            "items[0].name",
        ),
        ("/x/items", json!({"items": []}), "items"),
        ("/x/items", json!({}), "items"),
        ("/x", json!({}), "metadata"),
    ];
    for (rest, body, param) in cases {
        let url = format!("/v1/conversations{}", rest.replace("/x", &format!("/{id}")));
        let answer = kept.ask_as(&key_of("proj_1", Role::Member), "POST", &url, body.clone());
        assert_eq!(answer.status, 400, "{url} {body}");
        assert_eq!(
            answer.body.unwrap()["error"]["param"],
            param,
            "{url} {body}"
        );
    }
    for url in [
        "/v1/conversations?limit=0",
        "/v1/conversations?order=up",
        "/v1/conversations?x=1",
        "/v1/conversations?after=conv_none",
    ] {
        let answer = kept.ask_as(&key_of("proj_1", Role::Member), "GET", url, Json::Null);
        assert_eq!(answer.status, 400, "{url}");
    }
}

#[test]
fn a_reader_reads_only() {
    let kept = Kept::new();
    let id = kept.create();
    let reader = key_of("proj_1", Role::Reader);
    assert_eq!(
        kept.ask_as(&reader, "GET", "/v1/conversations", Json::Null)
            .status,
        200
    );
    let url = format!("/v1/conversations/{id}");
    assert_eq!(kept.ask_as(&reader, "DELETE", &url, Json::Null).status, 403);
}

#[test]
fn paths_and_methods() {
    let kept = Kept::new();
    let who = key_of("proj_1", Role::Member);
    for (method, url, status) in [
        ("PUT", "/v1/conversations", 405),
        ("PATCH", "/v1/conversations/x", 405),
        ("GET", "/v1/conversations/", 404),
        ("GET", "/v1/conversations/x/items/y", 404),
        ("GET", "/v1/conversations/../../internal/turns", 404),
        ("GET", "/internal/turns", 405),
    ] {
        assert_eq!(
            kept.ask_as(&who, method, url, Json::Null).status,
            status,
            "{method} {url}"
        );
    }
}

/// What `session` writes, as its own golden file has it.
#[test]
fn a_turn_of_the_edge_comes_back_as_it_went() {
    let kept = Kept::new();
    let id = kept.create();
    let mut turn: Json =
        serde_json::from_str(include_str!("../../session/golden/turn.json")).unwrap();
    turn["conversation_id"] = json!(id);
    for _ in 0..2 {
        kept.ask("POST", "/internal/turns", json!({ "items": [turn] }));
        assert_eq!(kept.history(&id), turn["messages"]);
    }
}

/// Likewise, one that was refused.
#[test]
fn a_refused_turn_of_the_edge_is_no_history() {
    let kept = Kept::new();
    let id = kept.create();
    let golden = include_str!("../../session/golden/refused-turn.json");
    let mut turn: Json = serde_json::from_str(golden).unwrap();
    turn["conversation_id"] = json!(id);
    let stored = kept.ask("POST", "/internal/turns", json!({ "items": [turn] }));
    assert_eq!(stored["stored"], 2);
    assert_eq!(kept.history(&id), json!([]));
}

#[test]
fn a_changed_history_is_forgotten_where_session_caches_it() {
    let golden = include_str!("../../session/golden/cache-key.txt").trim();
    assert_eq!(crate::turns::cached_history("proj_1", "conv_1"), golden);
    let golden = include_str!("../../session/golden/room-key.txt").trim();
    assert_eq!(crate::turns::cached_room("proj_1"), golden);
    let id = || "conv_1".to_owned();
    for (route, changes) in [
        (Public::List, false),
        (Public::Create, false),
        (Public::Get(id()), false),
        (Public::Update(id()), false),
        (Public::ListItems(id()), false),
        (Public::Delete(id()), true),
        (Public::CreateItems(id()), true),
    ] {
        assert_eq!(crate::routes::changed(&route), changes.then_some("conv_1"));
    }
}
