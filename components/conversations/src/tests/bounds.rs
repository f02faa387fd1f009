//! Pages and histories that are bounded in bytes, and what was refused.

use super::*;

const MIB: usize = 1 << 20;

impl Kept {
    fn say(&self, id: &str, role: &str, text: &str) {
        let items = json!({"items": [{"role": role, "content": text}]});
        self.ask("POST", &format!("/v1/conversations/{id}/items"), items);
    }

    fn newest(&self, id: &str, bytes_max: usize) -> Vec<(String, String)> {
        let url =
            format!("/internal/projects/proj_1/conversations/{id}/messages?bytes_max={bytes_max}");
        let history = self.ask("GET", &url, Json::Null);
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        let messages = history["messages"].as_array().unwrap().iter();
        messages
            .map(|message| (text(&message["role"]), text(&message["content"])))
            .collect()
    }
}

/// All pages of a list: the ids of each.
fn pages(kept: &Kept, url: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = url.to_owned();
    loop {
        let page = kept.ask("GET", &next, Json::Null);
        assert!(page.to_string().len() < 2 * MIB);
        let data = page["data"].as_array().unwrap();
        let ids: Vec<String> = data
            .iter()
            .map(|one| one["id"].as_str().unwrap().into())
            .collect();
        assert_eq!(
            (&page["first_id"], &page["last_id"]),
            (&data[0]["id"], &data[data.len() - 1]["id"])
        );
        let last = ids.last().unwrap().clone();
        pages.push(ids);
        if page["has_more"] == false {
            return pages;
        }
        next = format!("{url}&after={last}");
    }
}

#[test]
fn a_page_of_large_items_ends_early_and_all_are_read() {
    let kept = Kept::new();
    let id = kept.create();
    let sizes = [100, MIB, 10, 200_000, 200_000, 200_000, MIB, MIB - 1, 5, 5];
    for size in sizes {
        kept.say(&id, "user", &"x".repeat(size));
    }
    let url = format!("/v1/conversations/{id}/items?limit=100");
    let up = pages(&kept, &format!("{url}&order=asc"));
    let lengths: Vec<usize> = up.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 1, 3, 1, 1, 1, 2]);
    let mut down = pages(&kept, &format!("{url}&order=desc")).concat();
    down.reverse();
    assert_eq!(down, up.concat());
    assert_eq!(down.len(), sizes.len());
}

#[test]
fn a_page_of_small_items_has_as_many_as_were_asked_for() {
    let kept = Kept::new();
    let id = kept.create();
    for n in 0..7 {
        kept.say(&id, "user", &n.to_string());
    }
    let url = format!("/v1/conversations/{id}/items?limit=3");
    let lengths: Vec<usize> = pages(&kept, &url).iter().map(Vec::len).collect();
    assert_eq!(lengths, [3, 3, 1]);
    let url = format!("/v1/conversations/{id}/items?limit=7");
    assert_eq!(pages(&kept, &url).len(), 1);
}

#[test]
fn a_page_of_conversations_ends_early_too() {
    let kept = Kept::new();
    let pairs: serde_json::Map<_, _> = (0..16)
        .map(|n| (format!("{n:064}"), json!("𝕏".repeat(512))))
        .collect();
    for _ in 0..20 {
        kept.ask("POST", "/v1/conversations", json!({ "metadata": pairs }));
    }
    for role in [Role::Member, Role::Owner] {
        let who = key_of("proj_1", role);
        let url = "/v1/conversations?limit=100";
        let page = kept.ask_as(&who, "GET", url, Json::Null).body.unwrap();
        assert_eq!(page["has_more"], true);
        assert!((2..20).contains(&page["data"].as_array().unwrap().len()));
    }
    assert_eq!(
        pages(&kept, "/v1/conversations?limit=100").concat().len(),
        20
    );
}

#[test]
fn a_history_of_any_length_is_read_newest_first_and_within_its_bound() {
    let kept = Kept::new();
    let id = kept.create();
    for n in 0..40 {
        let role = if n % 2 == 0 { "user" } else { "assistant" };
        kept.say(&id, role, &format!("{n} {}", "x".repeat(MIB - 100)));
    }
    kept.say(&id, "user", "last");
    // The newest message is there, however large; what precedes it does not fit.
    assert_eq!(kept.newest(&id, 1_000), [("user".into(), "last".into())]);
    let read = kept.newest(&id, MIB);
    let bytes: usize = read.iter().map(|(_, text)| text.len()).sum();
    assert!(bytes <= 5 * MIB / 4, "{bytes}");
    assert_eq!(read.last().unwrap().1, "last");
}

#[test]
fn a_message_that_is_larger_than_the_bound_is_read_alone() {
    let kept = Kept::new();
    let id = kept.create();
    kept.say(&id, "user", "before");
    kept.say(&id, "user", &"x".repeat(MIB));
    let read = kept.newest(&id, 1_000);
    assert_eq!((read.len(), read[0].1.len()), (1, MIB));
}

#[test]
fn a_cut_history_begins_with_a_users_message_and_keeps_its_instructions() {
    let kept = Kept::new();
    let id = kept.create();
    kept.say(&id, "system", "Be brief.");
    for n in 0..20 {
        kept.say(&id, "user", &format!("question {n}"));
        kept.say(&id, "assistant", &format!("answer {n}"));
    }
    // Each takes 200 and its text: so many fit, counted from the newest.
    let read = kept.newest(&id, 5 * 211);
    let expected = [
        "Be brief.",
        "question 18",
        "answer 18",
        "question 19",
        "answer 19",
    ];
    assert_eq!(
        read.iter()
            .map(|(_, text)| text.as_str())
            .collect::<Vec<_>>(),
        expected
    );
    let whole = kept.newest(&id, MIB);
    assert_eq!(whole.len(), 41);
}

/// A message of several calls is told whole or not at all, and its answers not without it.
#[test]
fn a_cut_never_parts_a_message() {
    let kept = Kept::new();
    let id = kept.create();
    for request in ["r1", "r2", "r3"] {
        let mut turn = turn(&id, request);
        let call = turn["messages"][1]["tool_calls"][0].clone();
        turn["messages"][1]["tool_calls"] = json!([call, call]);
        turn["messages"][1]["content"] = json!("I calculate.");
        kept.ask("POST", "/internal/turns", json!({ "items": [turn] }));
    }
    let url = format!("/internal/projects/proj_1/conversations/{id}/messages");
    let whole = kept.history(&id);
    let whole = whole.as_array().unwrap();
    for bytes_max in (1..6_000).step_by(100) {
        let read = kept.ask("GET", &format!("{url}?bytes_max={bytes_max}"), Json::Null);
        let read = read["messages"].as_array().unwrap();
        assert!(whole.ends_with(read), "{bytes_max}");
        assert!(!read.is_empty());
        assert!(read.len() < 4 || read[0]["role"] == "user", "{bytes_max}");
    }
    assert_eq!(whole.len(), 12);
}

#[test]
fn bounds_of_a_history_are_named() {
    let kept = Kept::new();
    let id = kept.create();
    for query in [
        "bytes_max=0",
        "bytes_max=1048577",
        "bytes_max=x",
        "colour=red",
    ] {
        let url = format!("/internal/projects/proj_1/conversations/{id}/messages?{query}");
        let who = key_of("proj_1", Role::Member);
        assert_eq!(
            kept.ask_as(&who, "GET", &url, Json::Null).status,
            400,
            "{query}"
        );
    }
}

#[test]
fn a_refused_turn_is_shown_as_refused_and_is_outside_of_the_prompt() {
    let kept = Kept::new();
    let id = kept.create();
    let refused = json!({"request_id": "r1", "project_id": "proj_1", "conversation_id": id,
        "refused": true, "messages": [{"role": "user", "content": ""},
            {"role": "assistant", "content": "I can't help with that."}]});
    kept.ask(
        "POST",
        "/internal/turns",
        json!({"items": [turn(&id, "r0"), refused, turn(&id, "r2")]}),
    );
    let messages = kept.history(&id);
    assert_eq!(messages.as_array().unwrap().len(), 8);
    assert!(!messages.to_string().contains("help"));
    let items = kept.ask(
        "GET",
        &format!("/v1/conversations/{id}/items?order=asc"),
        Json::Null,
    );
    let statuses: Vec<_> = items["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_str().unwrap())
        .collect();
    let done = ["completed"; 4];
    assert_eq!(statuses, [&done[..], &["incomplete"; 2], &done].concat());
    let item = &items["data"][4];
    assert_eq!(
        item["incomplete_details"],
        json!({"reason": "content_filter"})
    );
    assert_eq!(item["content"][0]["text"], "");
    assert!(items["data"][0].get("incomplete_details").is_none());
}

#[test]
fn each_route_takes_the_bytes_that_it_needs() {
    let id = || "conv_1".to_owned();
    for route in [
        Public::List,
        Public::Get(id()),
        Public::Delete(id()),
        Public::ListItems(id()),
    ] {
        assert_eq!(routes::body_bytes_max(&route), 0, "{route:?}");
    }
    for route in [
        Public::Create,
        Public::Update(id()),
        Public::CreateItems(id()),
    ] {
        let bytes = routes::body_bytes_max(&route);
        assert!((256 << 10..2 * MIB).contains(&bytes), "{route:?}");
    }
}

#[test]
fn what_cannot_be_undone_asks_for_the_key_anew() {
    let id = || "conv_1".to_owned();
    for (route, is_final) in [
        (Public::Delete(id()), true),
        (Public::Update(id()), true),
        (Public::CreateItems(id()), false),
        (Public::Get(id()), false),
    ] {
        assert_eq!(routes::is_final(&route), is_final, "{route:?}");
    }
}
