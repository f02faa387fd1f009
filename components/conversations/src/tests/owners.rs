//! Whose a conversation is: another user's is not there, an owner's key reads all.

use super::*;

fn key(key_id: &str, user_id: Option<&str>, role: Role) -> Principal {
    Principal {
        key_id: key_id.into(),
        user_id: user_id.map(str::to_owned),
        ..key_of("proj_1", role)
    }
}

fn create_as(kept: &Kept, who: &Principal) -> String {
    let made = kept.ask_as(who, "POST", "/v1/conversations", Json::Null);
    made.body.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Every route of one conversation, with a body that it takes; the deletion comes last.
fn routes_of(id: &str) -> [(&'static str, String, Json); 5] {
    let url = format!("/v1/conversations/{id}");
    let items = json!({"items": [{"role": "user", "content": "x"}]});
    [
        ("GET", url.clone(), Json::Null),
        ("POST", url.clone(), json!({"metadata": {}})),
        ("GET", format!("{url}/items"), Json::Null),
        ("POST", format!("{url}/items"), items),
        ("DELETE", url, Json::Null),
    ]
}

fn check(kept: &Kept, who: &Principal, id: &str, expected: u16) {
    for (method, url, body) in routes_of(id) {
        let status = kept.ask_as(who, method, &url, body).status;
        assert_eq!(status, expected, "{} {method} {url}", who.key_id);
    }
    let listed = kept.ask_as(who, "GET", "/v1/conversations?limit=100", Json::Null);
    let listed = listed.body.unwrap()["data"].to_string();
    // After a deletion nobody finds it.
    assert!(!listed.contains(id));
    let after = format!("/v1/conversations?after={id}");
    assert_eq!(kept.ask_as(who, "GET", &after, Json::Null).status, 400);
}

#[test]
fn another_keys_or_users_conversation_is_not_there() {
    let kept = Kept::new();
    let marta = key("key_1", Some("user_marta"), Role::Member);
    let noor = key("key_2", Some("user_noor"), Role::Member);
    let (one, two) = (
        key("key_3", None, Role::Member),
        key("key_4", None, Role::Member),
    );
    let reader = key("key_5", None, Role::Reader);
    let ids: Vec<String> = [&marta, &one].map(|who| create_as(&kept, who)).into();
    for id in &ids {
        for stranger in [&noor, &two] {
            check(&kept, stranger, id, 404);
        }
        let url = format!("/v1/conversations/{id}/items");
        assert_eq!(kept.ask_as(&reader, "GET", &url, Json::Null).status, 404);
    }
    check(&kept, &one, &ids[0], 404);
    check(&kept, &marta, &ids[1], 404);
    // Another key of the same user, and the key itself.
    let phone = key("key_6", Some("user_marta"), Role::Member);
    check(&kept, &phone, &ids[0], 200);
    check(&kept, &one, &ids[1], 200);
}

#[test]
fn an_owners_key_reads_and_deletes_what_anybody_left() {
    let kept = Kept::new();
    let marta = key("key_1", Some("user_marta"), Role::Member);
    let id = create_as(&kept, &marta);
    let mut owner = key("key_2", Some("user_owner"), Role::Owner);
    let listed = kept.ask_as(&owner, "GET", "/v1/conversations", Json::Null);
    assert_eq!(listed.body.unwrap()["data"][0]["id"], json!(id));
    check(&kept, &owner, &id, 200);
    owner.project_id = "proj_2".into();
    let id = create_as(&kept, &marta);
    check(&kept, &owner, &id, 404);
}

#[test]
fn an_older_conversation_stays_its_projects() {
    let database = FileDatabase::in_memory().unwrap();
    block_on(records::migrate(&database, &schema::STEPS[..1])).unwrap();
    let old = "INSERT INTO conversations (id, project_id, metadata, created_at_ms, created_by)
        VALUES ('conv_old', 'proj_1', '{}', 0, 'key_1')";
    block_on(records::Database::execute(&database, old, vec![])).unwrap();
    block_on(records::migrate(&database, schema::STEPS)).unwrap();
    let quota = Quota::default();
    let kept = Kept { database, quota };
    let anybody = key("key_9", Some("user_9"), Role::Member);
    let own = create_as(&kept, &anybody);
    let other = create_as(&kept, &key("key_8", None, Role::Member));
    let listed = kept.ask_as(&anybody, "GET", "/v1/conversations?order=asc", Json::Null);
    let listed = listed.body.unwrap()["data"].clone();
    let ids: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, [json!("conv_old"), json!(own)]);
    check(&kept, &anybody, &other, 404);
    check(&kept, &anybody, "conv_old", 200);
}

#[test]
fn own_conversations_come_in_pages_in_both_orders() {
    let kept = Kept::new();
    let marta = key("key_1", Some("user_marta"), Role::Member);
    let noor = key("key_2", Some("user_noor"), Role::Member);
    let ids: Vec<String> = (0..7)
        .map(|n| create_as(&kept, if n % 2 == 0 { &marta } else { &noor }))
        .collect();
    let own: Vec<&str> = ids.iter().step_by(2).map(String::as_str).collect();
    for (order, expected) in [
        ("asc", own.clone()),
        ("desc", own.into_iter().rev().collect()),
    ] {
        let mut found = Vec::new();
        let mut url = format!("/v1/conversations?limit=3&order={order}");
        loop {
            let page = kept.ask_as(&marta, "GET", &url, Json::Null).body.unwrap();
            let data = page["data"].as_array().unwrap();
            found.extend(
                data.iter()
                    .map(|one| one["id"].as_str().unwrap().to_owned()),
            );
            if page["has_more"] == false {
                break;
            }
            let last = page["last_id"].as_str().unwrap();
            url = format!("/v1/conversations?limit=3&order={order}&after={last}");
        }
        assert_eq!(found, expected, "{order}");
    }
}

#[test]
fn the_edge_is_told_whose_a_history_is() {
    let kept = Kept::new();
    for (who, expected) in [
        (
            key("key_1", Some("user_marta"), Role::Member),
            json!("user_marta"),
        ),
        (key("key_2", None, Role::Member), json!("key_2")),
    ] {
        let id = create_as(&kept, &who);
        let url = format!("/internal/projects/proj_1/conversations/{id}/messages");
        assert_eq!(kept.ask("GET", &url, Json::Null)["owner"], expected);
    }
}
