//! What components are granted, and what they are refused.

use crate::harness::{Edge, HEAD, one, probe, star_manifest};

#[tokio::test]
async fn increments_by_many_requests_are_all_counted() {
    let edge = Edge::start(&one("key_value_stores = [\"cache\", \"default\"]"));
    for store in ["cache", "default"] {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let url = format!("{}/increment?{store},n", edge.http);
            tasks.spawn(async move {
                for _ in 0..10 {
                    assert_eq!(crate::harness::get(&url).await.0, 200);
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(edge.get(&format!("/key-value?{store},n")).await.1, "80");
    }
}

#[tokio::test]
async fn stores_need_a_grant() {
    let edge = Edge::start(&one("key_value_stores = [\"cache\"]"));
    assert_eq!(
        edge.get("/key-value?cache,k,v").await,
        (200, "v".to_owned())
    );
    let (status, body) = edge.get("/key-value?default,k,v").await;
    assert_eq!(status, 403);
    assert!(body.contains("AccessDenied"), "{body}");
    let (_, body) = edge.get("/sql?count").await;
    assert!(
        body.contains("AccessDenied") || body.contains("access denied"),
        "{body}"
    );
}

#[tokio::test]
async fn hosts_need_a_grant() {
    let edge = Edge::start(&one(
        "allowed_outbound_hosts = [\"http://127.0.0.1:1\", \"https://*:*\"]",
    ));
    for (url, words) in [
        ("http://127.0.0.1:2/", "HttpRequestDenied"),
        ("http://example.com/", "HttpRequestDenied"),
        ("http://localhost:1/", "HttpRequestDenied"),
        ("http://probe.spin.internal/", "HttpRequestDenied"),
        ("https://127.0.0.1:1/", "DestinationIpProhibited"),
        ("https://169.254.169.254/", "DestinationIpProhibited"),
        ("https://localhost:1/", "DestinationIpProhibited"),
        ("http://127.0.0.1:1/", "ConnectionRefused"),
    ] {
        let (status, body) = edge.get(&format!("/status?{url}")).await;
        assert_eq!(status, 200);
        assert!(body.contains(words), "{url}: {body}");
    }
}

#[tokio::test]
async fn components_call_each_other_without_a_socket() {
    let manifest = format!(
        "{HEAD}{}{}",
        probe(
            "front",
            "/...",
            "allowed_outbound_hosts = [\"http://back.spin.internal\", \"http://front.spin.internal\", \"http://gone.spin.internal\"]"
        ),
        probe("back", "", "key_value_stores = [\"default\"]")
    );
    let edge = Edge::start(&manifest);
    let (status, body) = edge.get("/fetch?http://back.spin.internal/headers").await;
    assert_eq!(status, 200);
    assert!(body.contains("spin-path-info: /headers"), "{body}");
    assert!(
        body.contains("traceparent: 00-"),
        "the trace goes on: {body}"
    );
    let body = edge
        .get("/fetch?http://back.spin.internal/key-value?default,a,b")
        .await
        .1;
    assert_eq!(body, "b");
    for (without, error) in [
        ("none", "HttpRequestDenied"),
        ("gone", "DestinationNotFound"),
    ] {
        let (_, body) = edge
            .get(&format!("/status?http://{without}.spin.internal/"))
            .await;
        assert!(body.contains(error), "{body}");
    }
    // A private component is not reachable from outside, whatever the client calls itself.
    let request = http::Request::get(format!("{}/served", edge.http))
        .header("host", "back.spin.internal")
        .body(http_body_util::BodyExt::boxed(
            http_body_util::Full::default(),
        ))
        .unwrap();
    assert_eq!(crate::harness::send(request).await.0, 200);
    assert_eq!(
        edge.get("/fetch?http://back.spin.internal/served").await.1,
        "3"
    );
}

#[tokio::test]
async fn a_loop_of_components_ends() {
    let keys = "allowed_outbound_hosts = [\"http://probe.spin.internal\"]";
    let edge = Edge::start(&one(keys));
    let nested = |times: usize| "/fetch?http://probe.spin.internal".repeat(times) + "/served";
    let (status, _) = edge.get(&nested(3)).await;
    assert_eq!(status, 200);
    let (status, body) = edge.get(&nested(20)).await;
    assert_eq!(status, 502);
    assert!(body.contains("LoopDetected"), "{body}");
}

#[tokio::test]
async fn a_leaf_has_what_it_inherits() {
    let edge = Edge::start(&star_manifest(", inherit_configuration = true"));
    assert_eq!(edge.get("/?key-value").await.1, "Ok(())");
    assert_eq!(edge.get("/?variable").await.1, "Ok(\"hello\")");
    assert_eq!(edge.get("/?sqlite").await.1, "opened");
    assert_eq!(edge.get("/?environment").await.1, "Ok(\"test\")");
    assert!(
        edge.get("/?http+http://127.0.0.1:1/")
            .await
            .1
            .contains("ConnectionRefused")
    );
}

#[tokio::test]
async fn a_leaf_has_nothing_that_it_does_not_inherit() {
    let edge = Edge::start(&star_manifest(", inherit_configuration = [\"variables\"]"));
    assert_eq!(edge.get("/?variable").await.1, "Ok(\"hello\")");
    assert!(edge.get("/?key-value").await.1.contains("AccessDenied"));
    assert!(edge.get("/?sqlite").await.1.contains("AccessDenied"));
    assert!(
        edge.get("/?http+http://127.0.0.1:1/")
            .await
            .1
            .contains("HttpRequestDenied")
    );
    let bare = Edge::start(&star_manifest(""));
    assert!(bare.get("/?variable").await.1.contains("Undefined"));
    assert_eq!(bare.get("/?environment").await.1, "Err(NotPresent)");
    // A leaf's trap is the star's.
    assert_eq!(bare.get("/?trap").await.0, 500);
    assert_eq!(bare.get("/?variable").await.0, 200);
}

#[tokio::test]
async fn files_are_read_only_and_the_environment_is_the_manifests() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("static")).unwrap();
    std::fs::write(folder.path().join("static/a.txt"), "content").unwrap();
    std::fs::write(folder.path().join("static/b.bak"), "backup").unwrap();
    let keys = "environment = { MODE = \"test\" }\nfiles = [{ source = \"static\", \
                destination = \"/data\" }, \"static/*\"]\nexclude_files = [\"static/*.bak\"]";
    crate::harness::write(&one(keys), folder.path());
    let edge = Edge::launch(folder.path(), &[]).unwrap();
    assert_eq!(edge.get("/file?/data/a.txt").await.1, "content");
    assert_eq!(edge.get("/file?/static/a.txt").await.1, "content");
    assert_ne!(edge.get("/file?/static/b.bak").await.1, "backup");
    assert_ne!(
        edge.get("/file?/data/../../../../../../etc/hostname")
            .await
            .1
            .len(),
        0
    );
    assert!(edge.get("/file?/etc/passwd").await.1.contains("os error"));
    assert_eq!(edge.get("/write?/data/new.txt").await.1, "false");
    assert!(!folder.path().join("static/new.txt").exists());
    assert_eq!(edge.get("/environment").await.1, "[(\"MODE\", \"test\")]");
}

#[tokio::test]
async fn what_is_done_after_the_answer_is_done() {
    let manifest = format!(
        "{HEAD}{}{}",
        probe(
            "front",
            "/...",
            "allowed_outbound_hosts = [\"http://back.spin.internal\"]"
        ),
        probe("back", "", "key_value_stores = [\"default\"]")
    );
    let edge = Edge::start(&manifest);
    let read = "/fetch?http://back.spin.internal/key-value?default,k";
    let write = "/later?http://back.spin.internal/key-value?default,k,done";
    assert_eq!(edge.get(write).await.1, "later");
    crate::harness::until("the write", || async { edge.get(read).await.1 == "done" }).await;
}
