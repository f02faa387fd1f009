//! The route of each path, and the right path for one that is none.

use super::*;

#[test]
fn a_path_is_its_route_with_or_without_a_slash_at_its_end() {
    for (path, route) in Route::PATHS {
        assert_eq!(Route::of(path), (Some(route), path));
        assert_eq!(Route::of(&format!("{path}/")), (Some(route), path));
        assert_eq!(
            Route::of(&format!("{path}//")).0,
            match route {
                Route::Models => Some(Route::Model),
                _ => None,
            }
        );
    }
    for name in ["m", "org/m", "org%2Fm", "a/b/c"] {
        let path = format!("{MODEL}{name}");
        assert_eq!(Route::of(&path), (Some(Route::Model), MODEL));
    }
    assert_eq!(Route::of("/"), (None, "unknown"));
    assert_eq!(Route::of("/v1/chat/completions/x"), (None, "unknown"));
}

#[test]
fn what_can_be_got_can_be_asked_for_its_head() {
    for (path, route) in Route::PATHS {
        assert_eq!(
            route.takes(&Method::GET),
            route.takes(&Method::HEAD),
            "{path}"
        );
        assert_ne!(
            route.takes(&Method::GET),
            route.takes(&Method::POST),
            "{path}"
        );
        assert!(!route.takes(&Method::DELETE), "{path}");
    }
}

#[test]
fn a_path_that_clients_guess_is_told_the_right_one() {
    for (wrong, right) in [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions/", "/v1/chat/completions"),
        ("/api/chat", "/v1/chat/completions"),
        ("/v1/chat", "/v1/chat/completions"),
        ("/v1/responses", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/v1/engines/m/completions", "/v1/completions"),
        ("/api/generate", "/v1/completions"),
        ("/embeddings", "/v1/embeddings"),
        ("/api/embed", "/v1/embeddings"),
        ("/rerank", "/v1/rerank"),
        ("/v2/rerank", "/v1/rerank"),
        ("/v1/tokenize", "/tokenize"),
        ("/v1/health", "/health"),
        ("/healthz", "/health"),
        ("/models", "/v1/models"),
        ("/v1", "/v1/models"),
        ("/v1/", "/v1/models"),
        ("/", "/v1/models"),
        ("", "/v1/models"),
    ] {
        assert_eq!(Route::of(wrong).0, None, "{wrong}");
        assert_eq!(wrong_path::right(wrong), Some(right), "{wrong}");
    }
    for path in ["/nonsense", "/v1/nothing", "/chat/x"] {
        assert_eq!(wrong_path::right(path), None, "{path}");
    }
}
