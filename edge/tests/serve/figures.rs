//! What is timed and counted for each component.

use crate::harness::{Edge, HEAD, probe, until};
use crate::traces::{Receiver, send, two};
use std::time::Instant;

#[tokio::test]
async fn a_trusted_client_is_told_how_long_each_component_took() {
    let (_receiver, url) = Receiver::start().await;
    let path = format!("/fetch?http://back.spin.internal/fetch?{url}/slow");
    let edge = Edge::start_with(&two(), &["--server-timing", "127.0.0.0/8"]);
    let answer = send(&edge, &path, "").await;
    let said = answer.headers()["server-timing"]
        .to_str()
        .unwrap()
        .to_owned();
    let stages: Vec<(&str, f64)> = said
        .split(", ")
        .map(|stage| stage.split_once(";dur=").unwrap())
        .map(|(name, ms)| (name, ms.parse().unwrap()))
        .collect();
    let names: Vec<&str> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["total", "outbound", "back", "front"], "{said}");
    // Each contains the one before it.
    let times: Vec<f64> = [1, 2, 3, 0]
        .iter()
        .map(|at: &usize| stages[*at].1)
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{said}");
    let counted = |name: &str| {
        let figure = format!("edge_component_answer_seconds_count{{component=\"{name}\"}}");
        let edge = &edge;
        async move { edge.figure(&figure).await }
    };
    assert!((counted("front").await - 1.0).abs() < 0.1);
    assert!((counted("back").await - 1.0).abs() < 0.1);
    // Nobody else is.
    drop(edge);
    for arguments in [&[][..], &["--server-timing", "10.0.0.0/8"]] {
        let edge = Edge::start_with(&two(), arguments);
        let answer = send(&edge, "/served", "").await;
        assert!(!answer.headers().contains_key("server-timing"));
    }
}

#[tokio::test]
async fn the_stages_that_a_component_names_are_counted() {
    let edge = Edge::start(&format!("{HEAD}{}", probe("front", "/...", "")));
    for said in [
        "auth;dur=0.2,+llm;dur=30",
        "auth;dur=40;desc=slow,bad(name;dur=1",
    ] {
        assert_eq!(edge.get(&format!("/stages?{said}")).await.0, 200);
    }
    let of = |stage: &str, le: &str| {
        format!(
            "edge_component_stage_seconds_bucket{{component=\"front\",stage=\"{stage}\",le=\"{le}\"}}"
        )
    };
    for (stage, le, count) in [
        ("auth", "0.0001", 0.0),
        ("auth", "0.00025", 1.0),
        ("auth", "0.05", 2.0),
        ("llm", "0.025", 0.0),
        ("llm", "0.05", 1.0),
    ] {
        let figure: f64 = edge.figure(&of(stage, le)).await;
        assert!(
            (figure - count).abs() < 0.1,
            "{stage} within {le} s: {figure}"
        );
    }
    let all = edge.figure("edge_component_stage_seconds_count").await;
    assert!((all - 3.0).abs() < 0.1, "{all}");
}

#[tokio::test]
async fn what_a_component_costs_is_counted_as_its_own() {
    let manifest = format!(
        "{HEAD}{}{}",
        probe("busy", "/private/...", ""),
        probe("idle", "/...", "")
    );
    let edge = Edge::start(&manifest);
    let of = |name: &str, component: &str| format!("{name}{{component=\"{component}\"");
    assert_eq!(edge.get("/served").await.0, 200);
    let (before, start) = (edge.cpu_seconds(), Instant::now());
    // Stopped after three seconds without progress.
    assert_eq!(edge.get("/private/loop").await.0, 500);
    let used = edge.cpu_seconds() - before;
    let cpu = "edge_component_cpu_seconds_total";
    // The last of it is counted when the instance has gone, which is after the answer.
    until("its CPU time is counted", || async {
        edge.figure(&of(cpu, "busy")).await > 0.9 * used
    })
    .await;
    // By the clock, and it had one thread: never more than has gone by.
    let busy = edge.figure(&of(cpu, "busy")).await;
    let gone_by = start.elapsed().as_secs_f64();
    assert!(busy < gone_by, "{busy} s of {gone_by} s");
    assert!(edge.figure(&of(cpu, "idle")).await < 0.5);
    until("the stop is counted", || async {
        (edge.figure(&of("edge_cpu_stops_total", "busy")).await - 1.0).abs() < 0.1
    })
    .await;
    assert_eq!(edge.get("/private/trap").await.0, 500);
    let kind = |kind: &str| format!("{},kind=\"{kind}\"", of("edge_traps_total", "busy"));
    until("the trap is counted", || async {
        (edge.figure(&kind("unreachable")).await - 1.0).abs() < 0.1
    })
    .await;
    assert!(edge.figure(&kind("stack")).await < 0.1);
    // It was busy, so it is slow, until it has been quick for a while; nobody else is.
    let slow = |component: &str| of("edge_component_slow", component);
    assert!((edge.figure(&slow("busy")).await - 1.0).abs() < 0.1);
    assert!(edge.figure(&slow("idle")).await < 0.1);
    until("it is quick again", || async {
        for _ in 0..50 {
            assert_eq!(edge.get("/private/served").await.0, 200);
        }
        edge.figure(&slow("busy")).await < 0.1
    })
    .await;
    // Memory is held by instances that live, and its peak stays.
    edge.get("/private/memory?20").await;
    let peak = "edge_instance_memory_peak_bytes";
    assert!(edge.figure(&of(peak, "busy")).await > f64::from(20 << 20));
    assert!(
        edge.figure(&of("edge_component_memory_peak_bytes", "busy"))
            .await
            > f64::from(20 << 20)
    );
    until("instances are given up", || async {
        edge.figure("edge_instances").await < 0.1
    })
    .await;
    assert!(edge.figure("edge_component_memory_bytes").await < 0.1);
    assert!(edge.figure(&of(peak, "busy")).await > f64::from(20 << 20));
}
