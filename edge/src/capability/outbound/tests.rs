//! Where requests may go: grants, forged URLs, rebinding names and loops.

use super::*;
use resolver::keep;
use tokio_util::sync::CancellationToken;

fn outbound(hosts: &[&str]) -> ComponentOutbound {
    ComponentOutbound {
        component: "test".to_owned(),
        hosts: hosts
            .iter()
            .map(|text| AllowedHost::parse(text).unwrap())
            .collect(),
        clients: Arc::new(Clients::new(&Arc::default(), 1, &[], &[], None).unwrap()),
        link: Arc::default(),
    }
}

fn goes(hosts: &[&str], url: &str) -> Result<Destination, String> {
    outbound(hosts)
        .destination(&url.parse().unwrap(), None)
        .map_err(|(error, _)| format!("{error:?}"))
}

#[test]
fn grants_decide() {
    assert!(goes(&["http://127.0.0.1:*"], "http://127.0.0.1:8000/x").is_ok());
    assert_eq!(
        goes(&[], "http://example.com/").unwrap_err(),
        "HttpRequestDenied"
    );
    assert_eq!(
        goes(&["http://*.spin.internal"], "http://ledger.spin.internal/x"),
        Ok(Destination::Service("ledger".to_owned()))
    );
    assert_eq!(
        goes(
            &["http://ledger.spin.internal"],
            "http://directory.spin.internal/"
        )
        .unwrap_err(),
        "HttpRequestDenied"
    );
    assert_eq!(goes(&["http://self"], "/path"), Ok(Destination::Itself));
    assert_eq!(
        goes(&["http://example.com"], "/path").unwrap_err(),
        "HttpRequestDenied"
    );
}

#[test]
fn forged_targets_go_nowhere() {
    let wide = ["https://*:*", "http://*:*"];
    for url in [
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[2002:7f00:1::]/",
    ] {
        assert_eq!(
            goes(&wide, url).unwrap_err(),
            "DestinationIpProhibited",
            "{url}"
        );
    }
    for url in [
        "http://user@example.com/",
        "http://example.com:80@127.0.0.1/",
    ] {
        assert_eq!(
            goes(&wide, url).unwrap_err(),
            "HttpRequestUriInvalid",
            "{url}"
        );
    }
}

#[test]
fn a_name_that_turns_private_is_dropped() {
    let address = |text: &str| -> std::net::SocketAddr { text.parse().unwrap() };
    let mixed = vec![
        address("10.0.0.1:0"),
        address("1.1.1.1:0"),
        address("[::1]:0"),
    ];
    assert_eq!(
        keep(mixed.clone(), Reach::PublicOnly).unwrap(),
        [address("1.1.1.1:0")]
    );
    assert_eq!(keep(mixed.clone(), Reach::Literal).unwrap(), mixed);
    let error = keep(vec![address("127.0.0.1:0")], Reach::PublicOnly).unwrap_err();
    assert!(error.get_ref().unwrap().is::<Prohibited>());
}

#[tokio::test]
async fn odd_spellings_of_loopback_are_resolved_and_then_refused() {
    // The system resolves these to 127.0.0.1 although they parse as no address.
    let wide = outbound(&["http://*:*"]);
    for url in [
        "http://127.1:9/",
        "http://2130706433:9/",
        "http://0x7f.1:9/",
        "http://localhost:9/",
    ] {
        let body = http_body_util::Empty::new().map_err(|e: std::convert::Infallible| match e {});
        let request = http::Request::get(url).body(body.boxed_unsync()).unwrap();
        let error = wide.send(request, None, None).await.unwrap_err();
        assert!(
            matches!(
                error,
                HttpError::DestinationIpProhibited | HttpError::DestinationNotFound
            ),
            "{url}: {error:?}"
        );
    }
}

#[test]
fn a_loop_of_components_is_cut() {
    let chained = outbound(&["http://*.spin.internal", "http://self"]);
    let at = |depth| CallContext {
        depth,
        traceparent: None,
        gone: CancellationToken::new(),
        stages: None,
    };
    let uri = "http://a.spin.internal/".parse().unwrap();
    assert!(
        chained
            .destination(&uri, Some(&at(CHAIN_DEPTH_MAX - 1)))
            .is_ok()
    );
    assert!(matches!(
        chained.destination(&uri, Some(&at(CHAIN_DEPTH_MAX))),
        Err((HttpError::LoopDetected, _))
    ));
}
