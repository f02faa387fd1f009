//! Asks models, by name in the query, to continue a text and to place some.

use bytes::Bytes;
use http_body_util::Full;
use spin_sdk::http::{self, BoxBody, Request, box_body};
use spin_sdk::http_service;
use spin_sdk::llm::{InferencingParams, llm};

#[http_service]
async fn handle(request: Request) -> http::Response<BoxBody> {
    let model = request.uri().query().unwrap_or("");
    let own = |max_tokens| InferencingParams {
        max_tokens,
        repeat_penalty: 1.5,
        repeat_penalty_last_n_token_count: 32,
        temperature: 0.25,
        top_k: 3,
        top_p: 0.5,
    };
    let told = match request.uri().path() {
        "/infer" => format!("{:?}", llm::infer(model, "a text", None)),
        "/infer-as-told" => format!("{:?}", llm::infer(model, "a text", Some(own(9)))),
        "/infer-nothing" => format!("{:?}", llm::infer(model, "a text", Some(own(0)))),
        "/embed" => {
            let texts = ["one".to_owned(), "two".to_owned()];
            format!("{:?}", llm::generate_embeddings(model, &texts))
        }
        _ => "no such deed".to_owned(),
    };
    http::Response::new(box_body(Full::new(Bytes::from(told))))
}
