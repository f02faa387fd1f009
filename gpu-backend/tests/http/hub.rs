//! `--model OWNER/NAME`: fetched from a hub that this test plays.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value as Json, json};

use crate::harness::{Server, command, write_model};

/// Serves a folder's files as the repository `owner/tiny`; the first download of the
/// weights breaks off in the middle.
fn play_hub(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let broken = Arc::new(AtomicBool::new(false));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (folder, broken) = (folder.clone(), broken.clone());
            // A client that goes away ends its own connection only.
            std::thread::spawn(move || answer(stream.unwrap(), &folder, &broken));
        }
    });
    url
}

/// One request of a connection, as far as the hub's clients ask: a file, from a byte on.
fn answer(stream: TcpStream, folder: &Path, broken: &AtomicBool) -> std::io::Result<()> {
    let mut head = Vec::new();
    for line in BufReader::new(stream.try_clone()?).lines() {
        match line?.to_ascii_lowercase() {
            end if end.is_empty() => break,
            line => head.push(line),
        }
    }
    let mut stream = stream;
    let path = head[0].split(' ').nth(1).unwrap();
    let file = path.strip_prefix("/owner/tiny/resolve/main/").unwrap();
    let Ok(bytes) = std::fs::read(folder.join(file)) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    };
    let range = head.iter().find_map(|l| l.strip_prefix("range: bytes="));
    let (start, end) = range.unwrap().split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().unwrap_or(bytes.len() - 1);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\netag: \"{file}\"\r\nx-repo-commit: c0ffee\r\n\
         content-range: bytes {start}-{end}/{}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        bytes.len(),
        end + 1 - start,
    );
    stream.write_all(head.as_bytes())?;
    let is_download = file == "model.safetensors" && end > 0;
    let cut = is_download && !broken.swap(true, Ordering::SeqCst);
    let sent = if cut { end / 2 } else { end + 1 };
    stream.write_all(&bytes[start..sent])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_the_hub_is_fetched_told_of_and_served_under_its_whole_name() {
    let dir = tempfile::tempdir().unwrap();
    let (files, home) = (dir.path().join("files"), dir.path().join("home"));
    std::fs::create_dir(&files).unwrap();
    write_model(&files);
    let mut serve = command();
    serve
        .args(["serve", "--model", "owner/tiny"])
        .env("HF_ENDPOINT", play_hub(files.clone()))
        .env("HF_HOME", home);
    for proxy in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"] {
        serve.env_remove(proxy).env_remove(proxy.to_lowercase());
    }
    let server = Server::spawn(serve, dir);
    let (status, models) = server.get("/v1/models").await;
    let models: Json = serde_json::from_str(&models).unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(models["data"][0]["id"], "owner/tiny");
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let size = std::fs::metadata(files.join(file)).unwrap().len();
        for bytes in [0, size] {
            let line = format!("fetching {file}: {bytes} of {size} bytes");
            assert!(server.said.contains(&line), "{line}: {:?}", server.said);
        }
    }
    let hello = json!({"model": "owner/tiny", "max_tokens": 2, "ignore_eos": true});
    let (status, answer) = server.chat(hello).await;
    assert_eq!(
        (status, &answer["model"]),
        (StatusCode::OK, &json!("owner/tiny"))
    );
}
