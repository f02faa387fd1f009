//! Buckets, groups, filters and rights, over a real SQLite.
//!
//! Events come in through `apply`, so the two halves of the ledger are tested together.

use super::*;
use crate::{apply, schema};
use futures::executor::block_on;
use records::file::FileDatabase;

const DAY: i64 = 86_400;
/// 2025-06-15 00:00:00 UTC.
const MIDNIGHT: i64 = 1_749_945_600;

fn who(roles: &[Role]) -> Principal {
    Principal {
        organization_id: "org_1".into(),
        project_id: "proj_1".into(),
        user_id: None,
        key_id: "key_1".into(),
        roles: roles.to_vec(),
    }
}

/// Events at seconds after midnight, of 100 prompt, 40 cached and 10 completion tokens each.
fn ledger(events: &[(i64, &str, &str, &str)]) -> FileDatabase {
    let database = FileDatabase::in_memory().unwrap();
    block_on(records::migrate(&database, schema::STEPS)).unwrap();
    let items: Vec<Json> = events
        .iter()
        .enumerate()
        .map(|(n, (second, organization, project, model))| {
            json!({
                "request_id": format!("req_{n}"), "organization_id": organization,
                "project_id": project, "user_id": (n % 2 == 0).then_some("user_1"),
                "key_id": format!("key_{project}"), "model": model, "backend": "local",
                "prompt_tokens": 100, "cached_tokens": 40, "completion_tokens": 10,
                "reasoning_tokens": 3, "model_calls": 2, "tool_calls": 1,
                "started_at_ms": (MIDNIGHT + second) * 1_000 + 999, "duration_ms": 5,
            })
        })
        .collect();
    let body = json!({ "items": items }).to_string();
    block_on(apply::apply(&database, body.as_bytes(), 0)).unwrap();
    database
}

fn ask(database: &FileDatabase, who: &Principal, query: &str) -> (u16, Json) {
    let now_ms = (MIDNIGHT + 2 * DAY) * 1_000;
    let answer = block_on(completions(database, who, Some(query), now_ms));
    let answer = answer.unwrap_or_else(Answer::from);
    (answer.status, answer.body.unwrap())
}

/// Each bucket as begin and end after midnight, and each result's model requests.
fn brief(page: &Json) -> Vec<(i64, i64, Vec<i64>)> {
    let bucket = |bucket: &Json| {
        let time = |name| bucket[name].as_i64().unwrap() - MIDNIGHT;
        let results = bucket["results"].as_array().unwrap();
        let requests = results
            .iter()
            .map(|r| r["num_model_requests"].as_i64().unwrap());
        (time("start_time"), time("end_time"), requests.collect())
    };
    page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(bucket)
        .collect()
}

#[test]
fn an_answer_is_the_committed_json() {
    let database = ledger(&[(5, "org_1", "proj_1", "m"), (6, "org_1", "proj_2", "m")]);
    let query = format!("start_time={MIDNIGHT}&bucket_width=1d&group_by=project_id&limit=1");
    let (status, page) = ask(&database, &who(&[Role::Owner]), &query);
    assert_eq!(status, 200);
    let golden: Json = serde_json::from_str(include_str!("../../golden/usage-page.json")).unwrap();
    assert_eq!(page, golden);
}

#[test]
fn requests_with_an_estimate_are_counted() {
    let database = ledger(&[(5, "org_1", "p", "m"), (6, "org_1", "p", "m")]);
    let mark = "UPDATE usage SET estimated = 1 WHERE request_id = 'req_1'";
    block_on(database.execute(mark, vec![])).unwrap();
    let query = format!("start_time={MIDNIGHT}&limit=1");
    let (_, page) = ask(&database, &who(&[Role::Owner]), &query);
    let result = &page["data"][0]["results"][0];
    assert_eq!(result["num_estimated_requests"], 1);
    assert_eq!(result["num_model_requests"], 4);
}

#[test]
fn buckets_are_aligned_and_cut_to_the_asked_time() {
    let events = [
        (0, "org_1", "p", "m"),
        (3_599, "org_1", "p", "m"),
        (3_600, "org_1", "p", "m"),
    ];
    let database = ledger(&events);
    let (start, end) = (MIDNIGHT + 1, MIDNIGHT + 9_000);
    let query = format!("start_time={start}&end_time={end}&bucket_width=1h");
    let (_, page) = ask(&database, &who(&[Role::Owner]), &query);
    let expected = [
        (1, 3_600, vec![2]),
        (3_600, 7_200, vec![2]),
        (7_200, 9_000, vec![]),
    ];
    assert_eq!(brief(&page), expected);
    assert_eq!(
        (&page["has_more"], &page["next_page"]),
        (&json!(false), &Json::Null)
    );
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let events: Vec<_> = (0..10).map(|n| (n * 60, "org_1", "p", "m")).collect();
    let database = ledger(&events);
    let base = format!(
        "start_time={}&end_time={}&bucket_width=1m",
        MIDNIGHT + 30,
        MIDNIGHT + 570
    );
    let (_, whole) = ask(&database, &who(&[Role::Owner]), &base);
    let mut pages = Vec::new();
    let mut query = format!("{base}&limit=3");
    loop {
        let (status, page) = ask(&database, &who(&[Role::Owner]), &query);
        assert_eq!(status, 200, "{page}");
        pages.extend(brief(&page));
        let Some(next) = page["next_page"].as_str() else {
            break;
        };
        query = format!("{base}&limit=3&page={next}");
    }
    assert_eq!(pages, brief(&whole));
    assert_eq!(pages.len(), 10);
    assert_eq!(pages[0], (30, 60, vec![]));
    assert_eq!(pages[9], (540, 570, vec![2]));
}

#[test]
fn groups_and_filters() {
    let events = [
        (1, "org_1", "proj_1", "a"),
        (2, "org_1", "proj_1", "b"),
        (3, "org_1", "proj_2", "a"),
        (4, "org_2", "proj_1", "a"),
    ];
    let database = ledger(&events);
    let check = |query: &str, expected: Json| {
        let query = format!("start_time={MIDNIGHT}&limit=1&{query}");
        let (status, page) = ask(&database, &who(&[Role::Reader]), &query);
        assert_eq!(status, 200, "{page}");
        let results = page["data"][0]["results"].as_array().unwrap();
        let brief: Vec<Json> = results
            .iter()
            .map(|r| {
                let names = ["project_id", "user_id", "api_key_id", "model"];
                let group: Vec<&str> = names.iter().filter_map(|name| r[*name].as_str()).collect();
                json!([group.join(" "), r["input_tokens"]])
            })
            .collect();
        assert_eq!(json!(brief), expected, "{query}");
    };
    check("", json!([["", 300]]));
    check("group_by=model", json!([["a", 200], ["b", 100]]));
    check(
        "group_by[]=project_id&group_by[]=model",
        json!([["proj_1 a", 100], ["proj_1 b", 100], ["proj_2 a", 100]]),
    );
    check("group_by=user_id", json!([["", 100], ["user_1", 200]]));
    check(
        "group_by=api_key_id&models=a",
        json!([["key_proj_1", 100], ["key_proj_2", 100]]),
    );
    check("project_ids=proj_1", json!([["", 200]]));
    check(
        "project_ids[]=proj_1&project_ids[]=proj_2",
        json!([["", 300]]),
    );
    check("user_ids=user_1&models=b", json!([]));
    check("api_key_ids=key_proj_2", json!([["", 100]]));
    check("project_ids=it%27s%22+no+project", json!([]));
}

#[test]
fn nobody_reads_what_is_not_theirs() {
    let events = [
        (1, "org_1", "proj_1", "a"),
        (2, "org_1", "proj_2", "a"),
        (3, "org_2", "proj_3", "a"),
    ];
    let database = ledger(&events);
    let total = |who: &Principal, filter: &str| {
        let query = format!("start_time={MIDNIGHT}&limit=1{filter}");
        let (status, page) = ask(&database, who, &query);
        let result = &page["data"][0]["results"][0];
        (status, result["input_tokens"].as_i64().unwrap_or(0))
    };
    assert_eq!(total(&who(&[Role::Owner]), ""), (200, 200));
    assert_eq!(total(&who(&[Role::Reader]), ""), (200, 200));
    assert_eq!(total(&who(&[Role::Member]), ""), (200, 100));
    assert_eq!(
        total(&who(&[Role::Member]), "&project_ids=proj_2"),
        (200, 0)
    );
    assert_eq!(total(&who(&[Role::Owner]), "&project_ids=proj_3"), (200, 0));
    assert_eq!(total(&who(&[]), ""), (403, 0));
}

#[test]
fn parameters_are_read_strictly() {
    let database = ledger(&[]);
    let check = |query: &str, param: &str| {
        let (status, error) = ask(&database, &who(&[Role::Owner]), query);
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{query}"
        );
        assert_eq!(error["error"].as_object().unwrap().len(), 4);
    };
    check("", "start_time");
    check("start_time=yesterday", "start_time");
    check("start_time=-1", "start_time");
    check("start_time=5&end_time=5", "end_time");
    check("start_time=5&bucket_width=1w", "bucket_width");
    check("start_time=5&limit=32", "limit");
    check("start_time=5&limit=169&bucket_width=1h", "limit");
    check("start_time=5&limit=1441&bucket_width=1m", "limit");
    check("start_time=5&group_by=batch", "group_by");
    check("start_time=5&batch=true", "batch");
    for page in [
        "page_",
        "page_x",
        "page_5",
        "page_86401",
        "page_99999999999999",
        "86400",
    ] {
        check(&format!("start_time=5&page={page}"), "page");
    }
    let (status, _) = ask(
        &database,
        &who(&[Role::Owner]),
        "start_time=5&page=page_86400",
    );
    assert_eq!(status, 200);
    // A begin in the future is an empty answer, and not an error.
    let future = format!("start_time={}", MIDNIGHT + 100 * DAY);
    assert_eq!(ask(&database, &who(&[Role::Owner]), &future).0, 200);
}
