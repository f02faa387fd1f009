//! What a project may store: counted with each write, given back by deletions, and held.

use super::*;
use records::Database;

impl Kept {
    fn within(conversations: i64, items: i64, bytes: i64) -> Self {
        Self {
            quota: Quota {
                conversations,
                items,
                bytes,
            },
            ..Self::new()
        }
    }

    fn sql(&self, statement: &str) -> Vec<records::Row> {
        block_on(self.database.execute(statement, vec![])).unwrap()
    }

    /// Conversations, items and bytes of a project, as they are counted.
    fn stored(&self, project: &str) -> [i64; 3] {
        let counted = format!(
            "SELECT conversations, items, bytes FROM stored WHERE project_id = '{project}'"
        );
        let rows = self.sql(&counted);
        rows.first().map_or([0; 3], |row| {
            [0, 1, 2].map(|column| row.integer(column).unwrap())
        })
    }

    /// The same, from the rows themselves.
    fn recounted(&self, project: &str) -> [i64; 3] {
        let of = |select: &str, from: &str| {
            let statement = format!("SELECT {select} FROM {from} project_id = '{project}'");
            self.sql(&statement)[0].integer(0).unwrap()
        };
        let items = "items JOIN conversations c ON c.id = conversation_id WHERE c.";
        let texts = "coalesce(sum(200 + length(CAST(text AS BLOB)) + coalesce(length(CAST(name AS
            BLOB)), 0) + coalesce(length(CAST(call_id AS BLOB)), 0)), 0)";
        let conversations = "conversations WHERE ";
        [
            of("count(*)", conversations),
            of("count(*)", items),
            of(
                "coalesce(sum(300 + length(CAST(metadata AS BLOB))), 0)",
                conversations,
            ) + of(texts, items),
        ]
    }

    fn refused(&self, method: &str, url: &str, body: Json) {
        let before = self.stored("proj_1");
        let answer = self.ask_as(&key_of("proj_1", Role::Member), method, url, body);
        let error = answer.body.unwrap()["error"].clone();
        assert_eq!(
            (answer.status, &error["code"]),
            (403, &json!("quota_exceeded")),
            "{url}"
        );
        assert_eq!(error["type"], "insufficient_quota");
        assert_eq!(self.stored("proj_1"), before);
    }
}

fn said(text: &str) -> Json {
    json!({"items": [{"role": "user", "content": text}]})
}

#[test]
fn what_is_stored_is_counted_to_the_byte_and_given_back() {
    let kept = Kept::new();
    let id = kept.create();
    let url = format!("/v1/conversations/{id}");
    let agree = |step: &str| {
        assert_eq!(kept.stored("proj_1"), kept.recounted("proj_1"), "{step}");
    };
    agree("created");
    kept.ask(
        "POST",
        "/v1/conversations",
        json!({"metadata": {"ключ": "значение"},
        "items": [{"role": "user", "content": "привет"}]}),
    );
    agree("created with items");
    kept.ask("POST", &url, json!({"metadata": {"a": "longer"}}));
    agree("longer metadata");
    kept.ask("POST", &url, json!({"metadata": {}}));
    agree("shorter metadata");
    kept.ask(
        "POST",
        &format!("{url}/items"),
        json!({"items": [
            {"role": "user", "content": [{"type": "input_text", "text": "日本"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "8"},
        ]}),
    );
    agree("items");
    for _ in 0..2 {
        kept.ask(
            "POST",
            "/internal/turns",
            json!({"items": [turn(&id, "r1"), turn("conv_x", "r")]}),
        );
        agree("turns, delivered twice");
    }
    assert_eq!(kept.stored("proj_1")[..2], [2, 8]);
    kept.ask("DELETE", &url, Json::Null);
    agree("deleted");
    assert_eq!(kept.stored("proj_1")[..2], [1, 1]);
    assert_eq!(kept.stored("proj_2"), [0; 3]);
}

#[test]
fn a_project_holds_so_many_conversations() {
    let kept = Kept::within(2, 100, 1 << 20);
    let id = kept.create();
    kept.create();
    kept.refused("POST", "/v1/conversations", Json::Null);
    // Another project is not concerned.
    let other = key_of("proj_2", Role::Member);
    assert_eq!(
        kept.ask_as(&other, "POST", "/v1/conversations", Json::Null)
            .status,
        200
    );
    kept.ask("DELETE", &format!("/v1/conversations/{id}"), Json::Null);
    kept.create();
}

#[test]
fn a_project_holds_so_many_items() {
    let kept = Kept::within(10, 3, 1 << 20);
    let id = kept.create();
    let items = format!("/v1/conversations/{id}/items");
    kept.ask("POST", &items, said("one"));
    // All of them, or none.
    let three = vec![json!({"role": "user", "content": "x"}); 3];
    kept.refused("POST", &items, json!({ "items": three }));
    kept.refused("POST", "/v1/conversations", json!({ "items": three }));
    kept.ask("POST", &items, said("two"));
    kept.ask("POST", &items, said("three"));
    kept.refused("POST", &items, said("four"));
    assert_eq!(kept.recounted("proj_1"), kept.stored("proj_1"));
}

#[test]
fn a_project_holds_so_many_bytes() {
    let kept = Kept::within(10, 100, 2_000);
    let id = kept.create();
    let url = format!("/v1/conversations/{id}");
    let items = format!("{url}/items");
    kept.refused("POST", &items, said(&"x".repeat(1_600)));
    kept.ask("POST", &items, said(&"x".repeat(1_400)));
    kept.refused("POST", &items, said(""));
    kept.refused("POST", &url, json!({"metadata": {"a": "x".repeat(200)}}));
    kept.ask("POST", &url, json!({"metadata": {"a": "x"}}));
    // Shorter metadata is taken even above the quota.
    let kept = Kept {
        quota: Quota {
            bytes: 0,
            ..kept.quota
        },
        ..kept
    };
    kept.ask("POST", &url, json!({"metadata": {}}));
    kept.refused("POST", &url, json!({"metadata": {"a": "x"}}));
    kept.refused("POST", "/v1/conversations", Json::Null);
}

#[test]
fn what_is_not_there_is_not_found_in_a_full_project_too() {
    let kept = Kept::within(0, 0, 0);
    for (url, body) in [
        ("/v1/conversations/conv_x", json!({"metadata": {}})),
        ("/v1/conversations/conv_x/items", said("x")),
    ] {
        let answer = kept.ask_as(&key_of("proj_1", Role::Member), "POST", url, body);
        assert_eq!(answer.status, 404, "{url}");
    }
}

/// The model has answered, so the turn is kept; the next one is not asked for any more.
#[test]
fn an_answered_turn_is_stored_beyond_the_quota_and_the_edge_is_told() {
    let kept = Kept::within(10, 4, 1 << 20);
    let id = kept.create();
    let room = || kept.ask("GET", "/internal/projects/proj_1/room", Json::Null)["is_full"].clone();
    let history = format!("/internal/projects/proj_1/conversations/{id}/messages");
    let told = || kept.ask("GET", &history, Json::Null)["is_full"].clone();
    assert_eq!((room(), told()), (json!(false), json!(false)));
    for request in ["r1", "r2"] {
        kept.ask(
            "POST",
            "/internal/turns",
            json!({"items": [turn(&id, request)]}),
        );
        assert_eq!((room(), told()), (json!(true), json!(true)));
    }
    assert_eq!(kept.history(&id).as_array().unwrap().len(), 8);
    kept.ask("DELETE", &format!("/v1/conversations/{id}"), Json::Null);
    assert_eq!(room(), json!(false));
}

#[test]
fn many_at_once_do_not_pass_the_quota() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conversations.db");
    let quota = Quota {
        conversations: 5,
        items: 5,
        ..Quota::default()
    };
    let open = || Kept {
        database: FileDatabase::open(&path).unwrap(),
        quota,
    };
    block_on(records::migrate(&open().database, schema::STEPS)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let kept = open();
                for _ in 0..4 {
                    let who = key_of("proj_1", Role::Member);
                    let status = kept
                        .ask_as(&who, "POST", "/v1/conversations", said("x"))
                        .status;
                    assert!([200, 403].contains(&status), "{status}");
                }
            });
        }
    });
    let kept = open();
    assert_eq!(kept.stored("proj_1")[..2], [5, 5]);
    assert_eq!(kept.stored("proj_1"), kept.recounted("proj_1"));
}

#[test]
fn an_older_database_is_counted_once_it_is_opened() {
    let database = FileDatabase::in_memory().unwrap();
    block_on(records::migrate(&database, &schema::STEPS[..1])).unwrap();
    let quota = Quota::default();
    let kept = Kept { database, quota };
    for project in ["proj_1", "proj_2"] {
        for n in 0..3 {
            kept.sql(&format!(
                "INSERT INTO conversations (id, project_id, metadata, created_at_ms, created_by)
                VALUES ('{project}_{n}', '{project}', '{{\"a\":\"ä\"}}', 0, 'key_1')"
            ));
            for item in 0..n {
                kept.sql(&format!(
                    "INSERT INTO items (id, conversation_id, request_id, message_index, part_index,
                        type, role, call_id, text, created_at_ms) VALUES ('{project}_{n}_{item}',
                        '{project}_{n}', 'r', {item}, 0, 'message', 'user', 'c', '日本', 0)"
                ));
            }
        }
    }
    // The last step may run a second time, where its version was not written.
    for _ in 0..2 {
        block_on(records::migrate(&kept.database, schema::STEPS)).unwrap();
        for project in ["proj_1", "proj_2"] {
            assert_eq!(kept.stored(project), kept.recounted(project));
            assert_eq!(kept.stored(project)[..2], [3, 3]);
        }
        kept.sql("DELETE FROM schema_version WHERE version = 4");
    }
    kept.ask("DELETE", "/v1/conversations/proj_1_2", Json::Null);
    assert_eq!(kept.stored("proj_1"), kept.recounted("proj_1"));
}
