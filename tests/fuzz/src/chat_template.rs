//! What a client can put into a chat template: the first byte chooses a family's template,
//! the rest is the body of a chat. A body that is taken renders or is refused, in bounded
//! time.
#![no_main]
#![expect(
    clippy::unwrap_used,
    reason = "the templates of the repository compile"
)]

use std::sync::LazyLock;

use gpu_backend::chat_template::ChatTemplate;
use gpu_backend::server::chat_request;
use libfuzzer_sys::fuzz_target;

const VOCAB: usize = 1_000;
const SOURCES: [&str; 8] = [
    include_str!("../../../gpu-backend/tests/golden/templates/gemma2.jinja"),
    include_str!("../../../gpu-backend/tests/golden/templates/gemma3.jinja"),
    include_str!("../../../gpu-backend/tests/golden/templates/llama2.jinja"),
    include_str!("../../../gpu-backend/tests/golden/templates/llama3.jinja"),
    include_str!("../../../gpu-backend/tests/golden/templates/mistral.jinja"),
    include_str!("../../../gpu-backend/tests/golden/templates/qwen2.jinja"),
    include_str!("../../../gpu-backend/tests/golden/templates/qwen3.jinja"),
    include_str!("../../../gpu-backend/tests/golden/templates/smollm2.jinja"),
];

static TEMPLATES: LazyLock<Vec<ChatTemplate>> = LazyLock::new(|| {
    let compile = |source: &str| {
        ChatTemplate::compile(source.to_owned(), "<s>".to_owned(), "</s>".to_owned()).unwrap()
    };
    SOURCES.into_iter().map(compile).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((family, body)) = data.split_first() else {
        return;
    };
    let template = &TEMPLATES[usize::from(*family) % TEMPLATES.len()];
    if let Ok(request) = chat_request(body, VOCAB) {
        drop(template.render(&request.messages, &request.tools));
    }
});
