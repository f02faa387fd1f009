//! Keys that ended while the door still lets them in, and the persons for whom keys are made.

use super::*;
use crate::{keys, projects};

/// What a change may leave behind.
const TABLES: [&str; 4] = ["projects", "users", "api_keys", "audit"];

impl Directory {
    fn rows(&self) -> Vec<Vec<records::Row>> {
        let rows = |table| self.sql(&format!("SELECT * FROM {table}"), vec![]);
        TABLES.map(rows).into()
    }

    fn make_key(&self, who: &Principal, project: &str, body: &str) -> (Principal, Json) {
        let (status, made) = self.ask(who, "POST", &format!("/{project}/api_keys"), body);
        assert_eq!(status, 200, "{made}");
        (self.who(made["value"].as_str().unwrap()), made)
    }
}

/// Every public route, with a body that it would take.
fn routes_of(project: &str, key: &str) -> [(&'static str, String, &'static str); 10] {
    let keys = format!("/{project}/api_keys");
    [
        ("POST", keys.clone(), r#"{"role":"owner"}"#),
        ("POST", keys.clone(), r#"{"user":"Mallory"}"#),
        ("POST", keys.clone(), ""),
        ("DELETE", format!("{keys}/{key}"), ""),
        ("POST", String::new(), r#"{"name":"New"}"#),
        ("POST", format!("/{project}"), r#"{"name":"Changed"}"#),
        ("GET", String::new(), ""),
        ("GET", format!("/{project}"), ""),
        ("GET", keys.clone(), ""),
        ("GET", format!("{keys}/{key}"), ""),
    ]
}

fn changes_nothing(directory: &Directory, ended: &Principal, project: &str, key: &str) {
    let before = directory.rows();
    for (method, path, body) in routes_of(project, key) {
        let (status, error) = directory.ask(ended, method, &path, body);
        assert_eq!(
            (status, &error["error"]["code"]),
            (401, &json!("invalid_api_key")),
            "{method} {path} {body}"
        );
    }
    assert_eq!(directory.rows(), before);
}

#[test]
fn a_revoked_owners_key_changes_nothing_though_the_door_still_lets_it_in() {
    let (directory, who, project) = Directory::started();
    let (second, made) = directory.make_key(&who, &project, r#"{"role":"owner"}"#);
    let path = format!("/{project}/api_keys/{}", made["id"].as_str().unwrap());
    assert_eq!(directory.ask(&who, "DELETE", &path, "").0, 200);
    changes_nothing(&directory, &second, &project, &who.key_id);
}

#[test]
fn a_key_that_ended_itself_changes_nothing_more() {
    let (directory, who, project) = Directory::started();
    let (second, _) = directory.make_key(&who, &project, r#"{"role":"owner"}"#);
    let path = format!("/{project}/api_keys/{}", second.key_id);
    assert_eq!(directory.ask(&second, "DELETE", &path, "").0, 200);
    changes_nothing(&directory, &second, &project, &who.key_id);
}

#[test]
fn an_expired_owners_key_changes_nothing_though_the_door_still_lets_it_in() {
    let (mut directory, who, project) = Directory::started();
    let body = r#"{"role":"owner","expires_at":1750000001}"#;
    let (second, _) = directory.make_key(&who, &project, body);
    directory.now_ms += 1_000;
    changes_nothing(&directory, &second, &project, &who.key_id);
}

/// The first look may come before the key's end, and the change after it.
#[test]
fn each_changing_statement_looks_at_the_key_itself() {
    let (directory, who, project) = Directory::started();
    let (second, _) = directory.make_key(&who, &project, r#"{"role":"owner"}"#);
    let path = format!("/{project}/api_keys/{}", second.key_id);
    directory.ask(&who, "DELETE", &path, "");
    let before = directory.rows();
    let asked = |body: &str| Asked {
        method: "POST".into(),
        path: String::new(),
        query: None,
        authorization: None,
        body: body.as_bytes().to_vec(),
    };
    let (database, now_ms) = (&directory.database, directory.now_ms);
    let (named, for_somebody, empty) = (
        asked(r#"{"name":"New"}"#),
        asked(r#"{"user":"Mo"}"#),
        asked(""),
    );
    let answers = [
        block_on(projects::create(database, &second, &named, now_ms, RANDOM)),
        block_on(projects::update(
            database, &second, &project, &named, now_ms,
        )),
        block_on(keys::create(
            database, &second, &project, &empty, now_ms, RANDOM,
        )),
        block_on(keys::delete(
            database,
            &second,
            &project,
            &who.key_id,
            now_ms,
        )),
    ];
    for answer in answers {
        assert_eq!(answer.unwrap_err().status(), 401);
    }
    let user = keys::create(database, &second, &project, &for_somebody, now_ms, RANDOM);
    assert_eq!(block_on(user).unwrap_err().status(), 401);
    assert_eq!(directory.rows(), before);
}

#[test]
fn a_key_belongs_to_the_one_for_whom_it_is_made() {
    let (directory, who, project) = Directory::started();
    let (service, made) = directory.make_key(&who, &project, "");
    assert_eq!(service.user_id, None);
    assert_eq!(made["owner"], json!({"type": "service_account"}));

    let (marta, made) = directory.make_key(&who, &project, r#"{"user":"Marta"}"#);
    assert_eq!(made["owner"]["user"]["name"], "Marta");
    assert_eq!(made["owner"]["user"]["role"], "member");
    let (again, _) = directory.make_key(&who, &project, r#"{"user":"Marta","name":"phone"}"#);
    assert_eq!(again.user_id, marta.user_id);
    let (other, _) = directory.make_key(&who, &project, r#"{"user":"Noor"}"#);
    assert_ne!(other.user_id, marta.user_id);
    let own = format!("{{\"user\":\"{}\"}}", who.user_id.as_deref().unwrap());
    let (own, _) = directory.make_key(&who, &project, &own);
    assert_eq!(own.user_id, who.user_id);

    let keys = format!("/{project}/api_keys");
    for user in [r#""user_nobody""#, r#""""#, "7", r#""a\nb""#] {
        let (status, error) = directory.ask(&who, "POST", &keys, &format!("{{\"user\":{user}}}"));
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!("user")),
            "{user}"
        );
    }
}

#[test]
fn another_half_is_told_whether_a_key_lives() {
    let (mut directory, who, project) = Directory::started();
    let (revoked, _) = directory.make_key(&who, &project, "");
    let (ending, _) = directory.make_key(&who, &project, r#"{"expires_at":1750000001}"#);
    let path = format!("/{project}/api_keys/{}", revoked.key_id);
    directory.ask(&who, "DELETE", &path, "");
    let lives = |directory: &Directory, key: &str| {
        let answer = block_on(verify::lives(&directory.database, key, directory.now_ms));
        answer.map_or_else(|error| error.status(), |answer| answer.status)
    };
    for (key, status) in [
        (who.key_id.as_str(), 204),
        (&ending.key_id, 204),
        (&revoked.key_id, 404),
        ("key_none", 404),
    ] {
        assert_eq!(lives(&directory, key), status, "{key}");
    }
    directory.now_ms += 1_000;
    assert_eq!(lives(&directory, &ending.key_id), 404);
}

/// A user's name in one organisation is not another's.
#[test]
fn another_organisations_user_gets_no_key_here() {
    let (directory, who, project) = Directory::started();
    for other in [
        "INSERT INTO organizations (id, name, created_at_ms) VALUES ('org_2', 'Other', 0)",
        "INSERT INTO users (id, organization_id, name, role, created_at_ms)
            VALUES ('user_2', 'org_2', 'Marta', 'owner', 0)",
    ] {
        directory.sql(other, vec![]);
    }
    let (marta, _) = directory.make_key(&who, &project, r#"{"user":"Marta"}"#);
    assert_ne!(marta.user_id.as_deref(), Some("user_2"));
    let keys = format!("/{project}/api_keys");
    assert_eq!(
        directory.ask(&who, "POST", &keys, r#"{"user":"user_2"}"#).0,
        400
    );
}

#[test]
fn keys_of_an_older_directory_become_their_own() {
    let database = FileDatabase::in_memory().unwrap();
    block_on(records::migrate(&database, &schema::STEPS[..2])).unwrap();
    let mut directory = Directory {
        database,
        now_ms: NOW_MS,
    };
    let first = directory.bootstrap().body.unwrap();
    let who = directory.who(first["api_key"].as_str().unwrap());
    for (id, role) in [("key_m", "member"), ("key_o", "owner")] {
        let made = "INSERT INTO api_keys (id, project_id, user_id, name, role, sha256,
            redacted_value, created_at_ms, created_by) VALUES (?1, ?2, ?3, '', ?4, ?1, '', 0, ?5)";
        let parameters = vec![
            Value::from(id),
            Value::from(who.project_id.as_str()),
            Value::from(who.user_id.as_deref()),
            Value::from(role),
            Value::from(who.key_id.as_str()),
        ];
        directory.sql(made, parameters);
    }
    block_on(records::migrate(&directory.database, schema::STEPS)).unwrap();
    directory.now_ms += 1;
    let owners = directory.sql("SELECT id, user_id FROM api_keys ORDER BY seq", vec![]);
    let owners: Vec<_> = owners
        .iter()
        .map(|row| (row.text(0).unwrap(), row.optional_text(1).unwrap()))
        .collect();
    let user = who.user_id.as_deref();
    assert_eq!(
        owners,
        [
            (who.key_id.as_str(), user),
            ("key_m", None),
            ("key_o", user)
        ]
    );
}
