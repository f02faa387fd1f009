//! The real binary on port 0 with a tiny random model, and a client for it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Json, json};

pub(crate) const VOCAB: usize = 260;
pub(crate) const CONTEXT: usize = 2048;
const HIDDEN: usize = 32;
const INNER: usize = 48;

/// A running engine; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) client: Client<HttpConnector, Full<Bytes>>,
    /// Its lines on stdout before it listened.
    pub(crate) said: Vec<String>,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_with(|_| (), options)
    }

    /// With further files in the model's directory.
    pub(crate) fn start_with(files: impl FnOnce(&Path), options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("tiny");
        std::fs::create_dir(&model).unwrap();
        write_model(&model);
        files(&model);
        let mut serve = command();
        serve.arg("serve").arg("--model").arg(&model).args(options);
        Self::spawn(serve, dir)
    }

    /// Runs `gpu-backend serve` on a port of its own until it listens.
    pub(crate) fn spawn(mut serve: Command, dir: tempfile::TempDir) -> Self {
        let mut child = serve
            .args(["--listen", "127.0.0.1:0", "--threads", "2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let url = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it said {said:?}"));
            let line = line.unwrap();
            match line.strip_prefix("listening on ") {
                Some(url) => break url.to_owned(),
                None => said.push(line),
            }
        };
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            child,
            url,
            client,
            said,
            _dir: dir,
        }
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(format!("{}{path}", self.url));
        text(self.send(request.body(Full::default()).unwrap()).await).await
    }

    pub(crate) fn post(&self, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        self.post_to("/v1/chat/completions", body)
    }

    pub(crate) fn post_to(&self, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap()
    }

    /// A chat's status and answer.
    pub(crate) async fn chat(&self, extra: Json) -> (StatusCode, Json) {
        let response = self.send(self.post(chat(extra).to_string())).await;
        let (status, body) = text(response).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Any route's status and JSON.
    pub(crate) async fn ask(&self, path: &str, body: Json) -> (StatusCode, Json) {
        let response = self.send(self.post_to(path, body.to_string())).await;
        let (status, body) = text(response).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// A chat's events, without the `data: `.
    pub(crate) async fn stream(&self, extra: Json) -> Vec<String> {
        self.stream_of("/v1/chat/completions", chat(extra)).await
    }

    /// Any route's events, without the `data: `.
    pub(crate) async fn stream_of(&self, path: &str, mut body: Json) -> Vec<String> {
        body["stream"] = true.into();
        let response = self.send(self.post_to(path, body.to_string())).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (_, body) = text(response).await;
        let (events, rest) = body.rsplit_once("\n\n").unwrap();
        assert_eq!(rest, "", "each event ends with an empty line");
        events
            .split("\n\n")
            .map(|e| e.strip_prefix("data: ").unwrap().to_owned())
            .collect()
    }

    /// One metric's value.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, StatusCode::OK);
        let line = body
            .lines()
            .find(|l| l.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
        line.unwrap_or_else(|| panic!("{name} is not in\n{body}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Requests that ended by themselves.
    pub(crate) async fn finished(&self) -> f64 {
        let mut finished = 0.0;
        for reason in ["stop", "length", "error"] {
            let name = format!("vllm:request_success_total{{finished_reason=\"{reason}\"}}");
            finished += self.metric(&name).await;
        }
        finished
    }

    /// Waits until so many requests have ended: the cancelled ones, and the others.
    pub(crate) async fn ends(&self, all: f64) -> (f64, f64) {
        let began = Instant::now();
        loop {
            let cancelled = self.metric("skerry:requests_cancelled_total").await;
            let finished = self.finished().await;
            if cancelled + finished >= all {
                assert_eq!(cancelled + finished, all, "each ends once");
                return (cancelled, finished);
            }
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(30), "{cancelled} + {finished}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until(&self, name: &str, value: f64) {
        let began = Instant::now();
        while self.metric(name).await != value {
            let waited = began.elapsed();
            assert!(
                waited < Duration::from_secs(30),
                "{name}: {}",
                self.metric(name).await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gpu-backend"))
}

/// A request body: one message, and these fields.
pub(crate) fn chat(extra: Json) -> Json {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

pub(crate) async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A byte-level tokenizer, a ChatML template and random weights.
pub(crate) fn write_model(dir: &Path) {
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "tie_word_embeddings": true,
        "eos_token_id": 257
    });
    write("config.json", config.to_string());
    write("tokenizer.json", tokenizer().to_string());
    write(
        "chat_template.jinja",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if messages[-1].role == 'assistant' %}{{ raise_exception('no user turn') }}{% endif %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
            .to_owned(),
    );
    let (q, kv) = (HIDDEN, HIDDEN / 2);
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![q, HIDDEN]),
            ("self_attn.k_proj", vec![kv, HIDDEN]),
            ("self_attn.v_proj", vec![kv, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, q]),
            ("mlp.gate_proj", vec![INNER, HIDDEN]),
            ("mlp.up_proj", vec![INNER, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INNER]),
        ] {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape)| {
            let len: usize = shape.iter().product();
            let bytes = (0..len).flat_map(|_| rng.random_range(-0.5f32..0.5).to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        (
            name.clone(),
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
}

fn tokenizer() -> Json {
    // GPT-2's table from bytes to printable characters.
    let mut spare = 256;
    let mut vocab = serde_json::Map::new();
    for byte in 0..256u32 {
        let code = if matches!(byte, 33..=126 | 161..=172 | 174..=255) {
            byte
        } else {
            spare += 1;
            spare - 1
        };
        vocab.insert(char::from_u32(code).unwrap().to_string(), byte.into());
    }
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": false});
    json!({
        "version": "1.0",
        "added_tokens": [added(256, "<|im_start|>", true), added(257, "<|im_end|>", true),
            added(258, "<tool_call>", false), added(259, "</tool_call>", false)],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": null},
    })
}
