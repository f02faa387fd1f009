//! A scripted engine for one test: it answers OpenAI's completions and embeddings with what
//! it was asked, and knows two models.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// The engine; its thread ends with the process.
pub(crate) struct Models {
    pub(crate) url: String,
}

impl Models {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream);
            }
        });
        Self { url }
    }
}

fn answer(stream: TcpStream) {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let (name, value) = header.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, told) = told(&path, &asked);
    let told = told.to_string();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        told.len()
    );
    let _ = (&stream).write_all(format!("{head}{told}").as_bytes());
}

fn told(path: &str, asked: &Value) -> (u16, Value) {
    let error = |status, message: &str, code: &str| {
        let error = json!({ "message": message, "type": "x", "param": null, "code": code });
        (status, json!({ "error": error }))
    };
    match (path, asked["model"].as_str()) {
        (_, Some("absent")) => error(404, "no such model", "model_not_found"),
        ("/v1/completions", _) if asked["max_tokens"] == 0 => {
            error(400, "'max_tokens' must be at least 1", "invalid_value")
        }
        ("/v1/completions", Some("talker")) => {
            let usage = json!({ "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 });
            let text = format!(" was asked {asked}");
            (
                200,
                json!({ "choices": [{ "index": 0, "text": text }], "usage": usage }),
            )
        }
        ("/v1/embeddings", Some("placer")) => {
            let count = asked["input"].as_array().map_or(0, Vec::len);
            let vector = |index| json!({ "index": index, "embedding": [index, 0.5] });
            let data: Vec<Value> = (0..count).rev().map(vector).collect();
            (
                200,
                json!({ "data": data, "usage": { "prompt_tokens": 7, "total_tokens": 7 } }),
            )
        }
        _ => error(500, "the engine is out of order", "internal"),
    }
}
