//! The whole of the directory over a real SQLite: the first key, the keys' lives, and the JSON
//! that clients and `auth` read.
//!
//! It stands where the door stands, so it does not test who is let in.

use crate::make::Random;
use crate::routes::{self, Route};
use crate::{bootstrap, schema, verify};
use futures::executor::block_on;
use records::file::FileDatabase;
use records::{Database, Value};
use regional::{Answer, ApiError, Asked, Principal, Role};
use serde_json::{Value as Json, json};

mod authority;

const NOW_MS: i64 = 1_750_000_000_000;

struct Directory {
    database: FileDatabase,
    now_ms: i64,
}

/// Different bytes at each call, on every thread.
fn random(bytes: &mut [u8]) -> Result<(), ApiError> {
    use std::hash::{BuildHasher, RandomState};
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = RandomState::new().hash_one(n) as u8;
    }
    Ok(())
}

const RANDOM: Random = random;

impl Directory {
    fn new() -> Self {
        let database = FileDatabase::in_memory().unwrap();
        block_on(records::migrate(&database, schema::STEPS)).unwrap();
        Self {
            database,
            now_ms: NOW_MS,
        }
    }

    fn bootstrap(&self) -> Answer {
        block_on(bootstrap::bootstrap(&self.database, self.now_ms, RANDOM)).unwrap()
    }

    /// With the first organisation: its owner and the id of its project.
    fn started() -> (Self, Principal, String) {
        let directory = Self::new();
        let first = directory.bootstrap().body.unwrap();
        let who = directory.who(first["api_key"].as_str().unwrap());
        (
            directory,
            who,
            first["project_id"].as_str().unwrap().to_owned(),
        )
    }

    fn verify(&self, key: &str) -> Result<Json, u16> {
        let digest = api_key::key::Key::parse(key).unwrap().sha256();
        let body = json!({ "key_sha256": digest }).to_string();
        let answer = block_on(verify::verify(&self.database, body.as_bytes(), self.now_ms));
        answer
            .map(|answer| answer.body.unwrap())
            .map_err(|error| error.status())
    }

    fn who(&self, key: &str) -> Principal {
        let known: api_key::wire::VerifiedKey =
            serde_json::from_value(self.verify(key).unwrap()).unwrap();
        let role = |role: &api_key::wire::Role| match role {
            api_key::wire::Role::Owner => Role::Owner,
            api_key::wire::Role::Member => Role::Member,
            api_key::wire::Role::Reader => Role::Reader,
        };
        let principal = known.principal;
        Principal {
            organization_id: principal.organization_id,
            project_id: principal.project_id,
            user_id: principal.user_id,
            key_id: principal.key_id,
            roles: principal.roles.iter().map(role).collect(),
        }
    }

    fn ask(&self, who: &Principal, method: &str, path: &str, body: &str) -> (u16, Json) {
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(p, q)| (p, Some(q)));
        let asked = Asked {
            method: method.to_owned(),
            path: format!("/v1/organization/projects{path}"),
            query: query.map(str::to_owned),
            authorization: None,
            body: body.as_bytes().to_vec(),
        };
        let answer = routes::route(&asked).and_then(|route| match route {
            Route::Public(route) => {
                routes::may(who)?;
                let served =
                    routes::serve(&self.database, who, &route, &asked, self.now_ms, RANDOM);
                block_on(served)
            }
            Route::Bootstrap | Route::Verify | Route::Lives(_) => {
                panic!("a private route: {}", asked.path)
            }
        });
        let answer = answer.unwrap_or_else(Answer::from);
        (answer.status, answer.body.unwrap())
    }

    fn sql(&self, statement: &str, parameters: Vec<Value>) -> Vec<records::Row> {
        block_on(self.database.execute(statement, parameters)).unwrap()
    }
}

/// Replaces what differs from run to run.
fn masked(mut body: Json, names: &[&str]) -> Json {
    for name in names {
        let place = body
            .pointer_mut(name)
            .unwrap_or_else(|| panic!("no {name}"));
        assert!(place.is_string(), "{name} {place}");
        *place = json!("…");
    }
    body
}

fn golden(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_first_key_is_made_once() {
    let directory = Directory::new();
    let first = directory.bootstrap();
    let body = first.body.unwrap();
    assert_eq!(first.status, 200);
    assert_eq!(body.as_object().unwrap().len(), 3);
    let who = directory.who(body["api_key"].as_str().unwrap());
    assert_eq!(who.project_id, body["project_id"]);
    assert_eq!(who.organization_id, body["organization_id"]);
    assert_eq!(who.roles, [Role::Owner, Role::Member, Role::Reader]);
    for _ in 0..2 {
        assert_eq!(directory.bootstrap(), Answer::nothing());
    }
}

#[test]
fn of_many_at_once_one_gets_the_first_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.db");
    let made = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let database = FileDatabase::open(&path).unwrap();
                block_on(records::migrate(&database, schema::STEPS)).unwrap();
                let answer = block_on(bootstrap::bootstrap(&database, NOW_MS, RANDOM)).unwrap();
                made.lock().unwrap().push(answer.status);
            });
        }
    });
    let mut made = made.into_inner().unwrap();
    made.sort_unstable();
    assert_eq!(made, [200, 204, 204, 204]);
    let database = FileDatabase::open(&path).unwrap();
    for table in ["organizations", "projects", "users", "api_keys"] {
        let count = block_on(database.execute(&format!("SELECT count(*) FROM {table}"), vec![]));
        assert_eq!(count.unwrap()[0].integer(0), Ok(1), "{table}");
    }
}

#[test]
fn auth_reads_what_verify_answers() {
    let (directory, who, project) = Directory::started();
    let limits = r#"{"name":"ci","role":"member","expires_at":1750000060,
        "rate_limits":{"requests_per_minute":5,"tokens_per_minute":700}}"#;
    let (_, made) = directory.ask(&who, "POST", &format!("/{project}/api_keys"), limits);
    let known = directory.verify(made["value"].as_str().unwrap()).unwrap();
    assert_eq!(known["principal"]["key_id"], made["id"]);
    assert_eq!(known["principal"]["key_limits"]["requests_per_minute"], 5);
    assert_eq!(known["principal"]["key_limits"]["tokens_per_minute"], 700);
    assert_eq!(known["principal"]["project_limits"], json!({}));
    assert_eq!(known["principal"]["roles"], json!(["member"]));
    assert_eq!(known["expires_at_ms"], 1_750_000_060_000_i64);
    for body in ["", "{}", "[]", r#"{"key_sha256":7}"#] {
        let wrong = verify::verify(&directory.database, body.as_bytes(), NOW_MS);
        assert_eq!(block_on(wrong).unwrap_err().status(), 400, "{body}");
    }
}

#[test]
fn a_keys_life_is_the_committed_json() {
    let (mut directory, who, project) = Directory::started();
    let keys = format!("/{project}/api_keys");
    let body = r#"{"name":"ci","rate_limits":{"requests_per_minute":5}}"#;
    let (status, made) = directory.ask(&who, "POST", &keys, body);
    assert_eq!(status, 200);
    let golden = golden(include_str!("../golden/key-created.json"));
    let own = ["/id", "/value", "/redacted_value"];
    assert_eq!(masked(made.clone(), &own), golden);

    let value = made["value"].as_str().unwrap();
    directory.now_ms += 1_000;
    assert_eq!(directory.who(value).roles, [Role::Member]);
    let one = format!("{keys}/{}", made["id"].as_str().unwrap());
    let (_, read) = directory.ask(&who, "GET", &one, "");
    assert_eq!(read["last_used_at"], 1_750_000_001);
    assert!(read.get("value").is_none(), "the value is told once");

    let (status, gone) = directory.ask(&who, "DELETE", &one, "");
    assert_eq!(
        (status, &gone["deleted"], &gone["id"]),
        (200, &json!(true), &made["id"])
    );
    assert_eq!(directory.verify(value), Err(404));
    for method in ["GET", "DELETE"] {
        assert_eq!(directory.ask(&who, method, &one, "").0, 404);
    }
}

#[test]
fn last_use_is_written_once_a_minute() {
    let (mut directory, who, project) = Directory::started();
    let (_, made) = directory.ask(&who, "POST", &format!("/{project}/api_keys"), "");
    let last = |directory: &Directory| {
        let one = format!("/{project}/api_keys/{}", made["id"].as_str().unwrap());
        directory.ask(&who, "GET", &one, "").1["last_used_at"].clone()
    };
    assert_eq!(last(&directory), Json::Null);
    for (later_ms, expected) in [(0, 0), (59_999, 0), (1, 60)] {
        directory.now_ms += later_ms;
        directory.verify(made["value"].as_str().unwrap()).unwrap();
        assert_eq!(last(&directory), 1_750_000_000 + expected);
    }
}

#[test]
fn a_key_ends_on_time() {
    let (mut directory, who, project) = Directory::started();
    let body = r#"{"expires_at":1750000001}"#;
    let (_, made) = directory.ask(&who, "POST", &format!("/{project}/api_keys"), body);
    let value = made["value"].as_str().unwrap();
    directory.now_ms += 999;
    assert!(directory.verify(value).is_ok());
    directory.now_ms += 1;
    assert_eq!(directory.verify(value), Err(410));
}

#[test]
fn the_last_owner_key_stays() {
    let (directory, who, project) = Directory::started();
    let keys = format!("/{project}/api_keys");
    let first = format!("{keys}/{}", who.key_id);
    // Neither a member's key nor an owner's that ends can take its place.
    for body in [
        r#"{"role":"member"}"#,
        r#"{"role":"owner","expires_at":1750000001}"#,
    ] {
        directory.ask(&who, "POST", &keys, body);
        let (status, error) = directory.ask(&who, "DELETE", &first, "");
        assert_eq!(
            (status, &error["error"]["code"]),
            (409, &json!("last_owner_key"))
        );
    }
    directory.ask(&who, "POST", &keys, r#"{"role":"owner"}"#);
    assert_eq!(directory.ask(&who, "DELETE", &first, "").0, 200);
}

#[test]
fn another_organisations_project_is_not_there() {
    let (directory, who, project) = Directory::started();
    for other in [
        "INSERT INTO organizations (id, name, created_at_ms) VALUES ('org_2', 'Other', 0)",
        "INSERT INTO projects (id, organization_id, name, created_at_ms, created_by)
            VALUES ('proj_2', 'org_2', 'Other', 0, 'test')",
        "INSERT INTO api_keys (id, project_id, name, role, sha256, redacted_value, created_at_ms,
            created_by) VALUES ('key_2', 'proj_2', 'Other', 'owner', 'x', 'sk-…', 0, 'test')",
    ] {
        directory.sql(other, vec![]);
    }
    let other = Principal {
        organization_id: "org_2".into(),
        project_id: "proj_2".into(),
        key_id: "key_2".into(),
        ..who.clone()
    };
    let key = who.key_id.as_str();
    for (method, path) in [
        ("GET", format!("/{project}")),
        ("GET", format!("/{project}/api_keys")),
        ("POST", format!("/{project}/api_keys")),
        ("GET", format!("/{project}/api_keys/{key}")),
        ("DELETE", format!("/{project}/api_keys/{key}")),
    ] {
        assert_eq!(
            directory.ask(&other, method, &path, "").0,
            404,
            "{method} {path}"
        );
    }
    let (_, own) = directory.ask(&other, "GET", "", "");
    assert_eq!(own["data"].as_array().unwrap().len(), 1);
    assert_eq!(own["data"][0]["id"], "proj_2");
    // Nor is a key that is in another project of one's own.
    let (_, second) = directory.ask(&who, "POST", "", r#"{"name":"Second"}"#);
    let elsewhere = format!("/{}/api_keys/{key}", second["id"].as_str().unwrap());
    assert_eq!(directory.ask(&who, "GET", &elsewhere, "").0, 404);
    assert_eq!(directory.ask(&who, "DELETE", &elsewhere, "").0, 404);
}

#[test]
fn only_owners_manage() {
    let (directory, mut who, project) = Directory::started();
    who.roles = vec![Role::Member, Role::Reader];
    for (method, path) in [
        ("GET", ""),
        ("POST", ""),
        ("POST", "/api_keys"),
        ("GET", "/api_keys"),
    ] {
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("/{project}{path}")
        };
        let (status, error) = directory.ask(&who, method, &path, "{}");
        assert_eq!(status, 403);
        assert_eq!(error["error"]["code"], "insufficient_permissions");
        assert_eq!(error["error"].as_object().unwrap().len(), 4);
    }
}

#[test]
fn lists_come_in_pages() {
    let (directory, who, project) = Directory::started();
    let keys = format!("/{project}/api_keys");
    for n in 0..4 {
        directory.ask(&who, "POST", &keys, &format!("{{\"name\":\"key {n}\"}}"));
    }
    let mut names = Vec::new();
    let mut path = format!("{keys}?limit=2");
    let mut pages = 0;
    loop {
        let (status, page) = directory.ask(&who, "GET", &path, "");
        assert_eq!((status, &page["object"]), (200, &json!("list")));
        let data = page["data"].as_array().unwrap();
        assert_eq!(page["first_id"], data[0]["id"]);
        assert_eq!(page["last_id"], data[data.len() - 1]["id"]);
        names.extend(
            data.iter()
                .map(|key| key["name"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        if page["has_more"] == json!(false) {
            break;
        }
        path = format!("{keys}?limit=2&after={}", page["last_id"].as_str().unwrap());
        // The end of a key does not lose the place.
        directory.ask(
            &who,
            "DELETE",
            &format!("{keys}/{}", page["last_id"].as_str().unwrap()),
            "",
        );
    }
    assert_eq!(names, ["First key", "key 0", "key 1", "key 2", "key 3"]);
    assert_eq!(pages, 3);
    let (_, empty) = directory.ask(&who, "GET", &format!("{keys}?after={}", who.key_id), "");
    assert!(empty["data"].as_array().is_some_and(|data| data.len() == 2));
    for wrong in [
        "limit=0",
        "limit=101",
        "after=key_none",
        "colour=red",
        "limit=1&limit=2",
    ] {
        assert_eq!(
            directory.ask(&who, "GET", &format!("{keys}?{wrong}"), "").0,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn bodies_are_read_strictly() {
    let (directory, who, project) = Directory::started();
    let check = |body: &str, param: Json| {
        let (status, error) = directory.ask(&who, "POST", &format!("/{project}/api_keys"), body);
        assert_eq!((status, &error["error"]["param"]), (400, &param), "{body}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
    };
    check("{", Json::Null);
    check("[]", Json::Null);
    check(r#"{"name":7}"#, json!("name"));
    check(r#"{"name":""}"#, json!("name"));
    check(
        &format!("{{\"name\":\"{}\"}}", "x".repeat(101)),
        json!("name"),
    );
    check(r#"{"role":"king"}"#, json!("role"));
    check(r#"{"expires_at":1750000000}"#, json!("expires_at"));
    check(r#"{"expires_at":"soon"}"#, json!("expires_at"));
    check(r#"{"rate_limits":5}"#, json!("rate_limits"));
    check(
        r#"{"rate_limits":{"requests_per_minute":-1}}"#,
        json!("rate_limits.requests_per_minute"),
    );
    check(r#"{"rate_limits":{"rpm":1}}"#, json!("rate_limits.rpm"));
    check(r#"{"colour":"red"}"#, json!("colour"));
    let (status, error) = directory.ask(&who, "POST", "", "{}");
    assert_eq!((status, &error["error"]["param"]), (400, &json!("name")));
    assert_eq!(directory.sql("SELECT 1 FROM api_keys", vec![]).len(), 1);
}

#[test]
fn a_project_is_the_committed_json() {
    let (directory, who, _) = Directory::started();
    let body = r#"{"name":"Second","rate_limits":{"tokens_per_minute":9000}}"#;
    let (status, made) = directory.ask(&who, "POST", "", body);
    assert_eq!(status, 200);
    let golden = golden(include_str!("../golden/project-created.json"));
    assert_eq!(masked(made.clone(), &["/id"]), golden);
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        directory.ask(&who, "GET", &format!("/{id}"), ""),
        (200, made.clone())
    );
    // Its ceilings hold for its keys.
    let (_, key) = directory.ask(&who, "POST", &format!("/{id}/api_keys"), "");
    let known = directory.verify(key["value"].as_str().unwrap()).unwrap();
    assert_eq!(
        known["principal"]["project_limits"],
        json!({ "tokens_per_minute": 9_000 })
    );
    assert_eq!(known["principal"]["project_id"], made["id"]);
}

#[test]
fn a_project_is_changed_in_what_is_given_and_its_keys_with_it() {
    let (directory, who, _) = Directory::started();
    let body = r#"{"name":"Second","rate_limits":{"tokens_per_minute":9000}}"#;
    let (_, made) = directory.ask(&who, "POST", "", body);
    let id = made["id"].as_str().unwrap();
    let (_, key) = directory.ask(&who, "POST", &format!("/{id}/api_keys"), "");
    let known = || directory.verify(key["value"].as_str().unwrap()).unwrap()["principal"].clone();
    assert_eq!(known()["platform_tools"], true);
    let change = |body: &str| directory.ask(&who, "POST", &format!("/{id}"), body);

    let (status, changed) = change(r#"{"platform_tools":false}"#);
    let mut expected = made.clone();
    expected["platform_tools"] = json!(false);
    assert_eq!((status, &changed), (200, &expected));
    assert_eq!(known()["platform_tools"], false);
    assert_eq!(
        known()["project_limits"],
        json!({ "tokens_per_minute": 9_000 })
    );

    let (_, changed) = change(r#"{"name":"Third","rate_limits":{"requests_per_minute":5}}"#);
    assert_eq!(
        (&changed["name"], &changed["platform_tools"]),
        (&json!("Third"), &json!(false))
    );
    assert_eq!(
        known()["project_limits"],
        json!({ "requests_per_minute": 5 })
    );

    for (body, param) in [
        (r#"{"platform_tools":"no"}"#, "platform_tools"),
        (r#"{"x":1}"#, "x"),
    ] {
        let (status, error) = change(body);
        assert_eq!((status, &error["error"]["param"]), (400, &json!(param)));
    }
    let missing = directory.ask(&who, "POST", "/proj_x", r#"{"name":"a"}"#);
    assert_eq!(missing.0, 404);
    let audit = "SELECT count(*) FROM audit WHERE action = 'project.updated'";
    assert_eq!(directory.sql(audit, vec![])[0].integer(0), Ok(2));
}

#[test]
fn every_change_is_in_the_audit_and_no_secret_anywhere() {
    let (directory, who, project) = Directory::started();
    let (_, made) = directory.ask(&who, "POST", &format!("/{project}/api_keys"), "");
    let id = made["id"].as_str().unwrap().to_owned();
    directory.ask(&who, "DELETE", &format!("/{project}/api_keys/{id}"), "");
    let audit = directory.sql(
        "SELECT action, actor, target FROM audit ORDER BY seq",
        vec![],
    );
    let lines: Vec<(&str, &str, &str)> = audit
        .iter()
        .map(|row| {
            (
                row.text(0).unwrap(),
                row.text(1).unwrap(),
                row.text(2).unwrap(),
            )
        })
        .collect();
    let owner = who.key_id.as_str();
    let expected = [
        ("project.created", "installation", project.as_str()),
        ("api_key.created", "installation", owner),
        ("api_key.created", owner, id.as_str()),
        ("api_key.deleted", owner, id.as_str()),
    ];
    assert_eq!(lines, expected);
    let value = made["value"].as_str().unwrap();
    for table in ["api_keys", "audit", "installation"] {
        for row in directory.sql(&format!("SELECT * FROM {table}"), vec![]) {
            assert!(!format!("{row:?}").contains(&value[10..20]), "{table}");
        }
    }
}
