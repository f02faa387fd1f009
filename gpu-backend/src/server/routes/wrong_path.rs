//! Paths that clients try although nothing is there, and the ones that they mean: those of
//! other servers, and of base addresses with too much or too little in them.
//! Knows nothing of what a route does.

use super::Route;

/// Paths of other servers, and ours for the same thing.
const ELSEWHERE: [(&str, &str); 14] = [
    ("", "/v1/models"),
    ("/v1", "/v1/models"),
    ("/api/chat", "/v1/chat/completions"),
    ("/chat", "/v1/chat/completions"),
    ("/v1/chat", "/v1/chat/completions"),
    ("/v1/responses", "/v1/chat/completions"),
    ("/v1/messages", "/v1/chat/completions"),
    ("/api/generate", "/v1/completions"),
    ("/generate", "/v1/completions"),
    ("/api/embed", "/v1/embeddings"),
    ("/api/tags", "/v1/models"),
    ("/v2/rerank", "/v1/rerank"),
    ("/healthz", "/health"),
    ("/ping", "/health"),
];

/// The path that was meant by one that is unknown, if it is like one.
pub(super) fn right(path: &str) -> Option<&'static str> {
    let path = path.trim_end_matches('/');
    if let Some((_, right)) = ELSEWHERE.into_iter().find(|(wrong, _)| *wrong == path) {
        return Some(right);
    }
    // The longest end in common: `/chat/completions` is not `/v1/completions`.
    let in_common = |known: &str| {
        let parts = known.rsplit('/').zip(path.rsplit('/'));
        parts.take_while(|(a, b)| a == b).count()
    };
    let known = Route::PATHS.into_iter().map(|(known, _)| known);
    let nearest = known.max_by_key(|known| in_common(known));
    nearest.filter(|known| in_common(known) > 0)
}
