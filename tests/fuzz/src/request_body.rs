//! A request's body: the first byte chooses the route, the rest is the body. Either it is
//! a request, or a message says what is wrong with it.
#![no_main]

use gpu_backend::server::check_body;
use libfuzzer_sys::fuzz_target;

const VOCAB: usize = 1_000;
const ROUTES: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/tokenize",
    "/detokenize",
];

fuzz_target!(|data: &[u8]| {
    let Some((route, body)) = data.split_first() else {
        return;
    };
    if let Err(message) = check_body(ROUTES[usize::from(*route) % ROUTES.len()], body, VOCAB) {
        assert!(!message.is_empty());
    }
});
