//! A folder on disk, requests as a browser sends them, and the whole answer looked at.

use super::*;
use http::Request;
use std::sync::atomic::{AtomicU32, Ordering};

/// A page's folder that is removed with the test.
struct Site {
    root: std::path::PathBuf,
}

impl Site {
    fn empty() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("web-{}-{number}", std::process::id()));
        std::fs::create_dir_all(root.join("assets")).ok();
        Self { root }
    }

    fn built() -> Self {
        let site = Self::empty();
        for (name, bytes) in [
            ("index.html", "<p>page</p>"),
            ("assets/app-1a.js", "plain script"),
            ("assets/app-1a.js.br", "brotli script"),
            ("assets/app-1a.js.gz", "gzip script"),
            ("favicon.svg", "<svg/>"),
            ("secret.key", "not a type that is served"),
        ] {
            std::fs::write(site.root.join(name), bytes).ok();
        }
        site
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Vec<u8>> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap_or_default().into_parts();
        answer(&Folder::at(&self.root), &parts)
    }

    fn get(&self, path: &str) -> Response<Vec<u8>> {
        self.ask("GET", path, &[])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).ok();
    }
}

fn header<'a>(response: &'a Response<Vec<u8>>, name: &str) -> Option<&'a str> {
    text_of(response.headers(), name)
}

#[test]
fn the_page_is_served_at_the_root_and_revalidated() {
    let site = Site::built();
    let page = site.get("/");
    assert_eq!(
        (page.status(), page.body().as_slice()),
        (StatusCode::OK, &b"<p>page</p>"[..])
    );
    assert_eq!(
        header(&page, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(header(&page, "cache-control"), Some("no-cache"));
    assert_eq!(header(&page, "content-length"), Some("11"));
    let tag = header(&page, "etag").expect("a tag").to_owned();

    for list in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        "*".to_owned(),
    ] {
        let again = site.ask("GET", "/", &[("if-none-match", &list)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{list}");
        assert!(again.body().is_empty());
        assert_eq!(header(&again, "etag"), Some(tag.as_str()));
        assert_eq!(header(&again, "cache-control"), Some("no-cache"));
    }
    std::fs::write(site.root.join("index.html"), "<p>new!</p>").expect("rebuilt");
    let changed = site.ask("GET", "/", &[("if-none-match", &tag)]);
    assert_eq!(changed.status(), StatusCode::OK);
}

#[test]
fn hashed_files_are_kept_for_ever_in_the_form_the_client_accepts() {
    let site = Site::built();
    let check = |accept: &str, body: &str, encoding: Option<&str>| {
        let file = site.ask("GET", "/assets/app-1a.js", &[("accept-encoding", accept)]);
        assert_eq!(file.body().as_slice(), body.as_bytes(), "{accept}");
        assert_eq!(header(&file, "content-encoding"), encoding);
        assert_eq!(
            header(&file, "cache-control"),
            Some("public, max-age=31536000, immutable")
        );
        assert_eq!(
            header(&file, "content-type"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(header(&file, "vary"), Some("accept-encoding"));
        header(&file, "etag").map(str::to_owned)
    };
    let brotli = check("gzip, deflate, br", "brotli script", Some("br"));
    let gzip = check("gzip", "gzip script", Some("gzip"));
    let plain = check("identity", "plain script", None);
    assert!(
        brotli != gzip && gzip != plain && brotli != plain,
        "each form has its own tag"
    );
}

#[test]
fn a_file_without_compressed_form_is_served_plain() {
    let icon = Site::built().ask("GET", "/favicon.svg", &[("accept-encoding", "br")]);
    assert_eq!(icon.status(), StatusCode::OK);
    assert_eq!(header(&icon, "content-encoding"), None);
    assert_eq!(header(&icon, "content-type"), Some("image/svg+xml"));
}

#[test]
fn head_has_the_headers_without_the_bytes() {
    let site = Site::built();
    let head = site.ask("HEAD", "/", &[]);
    assert_eq!(head.status(), StatusCode::OK);
    assert!(head.body().is_empty());
    assert_eq!(header(&head, "etag"), header(&site.get("/"), "etag"));
    assert_eq!(
        header(&head, "content-length"),
        None,
        "WASI would compare it with no bytes"
    );
}

#[test]
fn other_methods_are_refused_by_name() {
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let refused = Site::built().ask(method, "/", &[]);
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&refused, "allow"), Some("GET, HEAD"));
    }
}

#[test]
fn a_client_of_the_api_gets_an_error_that_it_can_read() {
    let site = Site::built();
    let chat = "POST /v1/chat/completions.";
    for (method, path, accept, meant) in [
        ("POST", "/chat/completions", "*/*", chat),
        (
            "POST",
            "/openai/v1/chat/completions/",
            "application/json",
            chat,
        ),
        ("POST", "/api/chat", "*/*", chat),
        ("POST", "/api/generate", "text/html", chat),
        ("PUT", "/nothing", "*/*", "under /v1."),
        ("GET", "/models", "application/json", "GET /v1/models."),
        ("GET", "/api/tags", "*/*", "GET /v1/models."),
        ("GET", "/no\"thing", "*/*", "under /v1."),
    ] {
        let path = path.replace('"', "%22");
        let answer = site.ask(method, &path, &[("accept", accept)]);
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["error"].as_object().unwrap().len(), 4);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.ends_with(meant), "{message}");
    }
    let page = site.ask("GET", "/nothing", &[("accept", "text/html,*/*;q=0.8")]);
    assert_eq!(
        header(&page, "content-type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn what_is_not_a_file_of_the_page_is_not_found() {
    let site = Site::built();
    for path in [
        "/nothing.js",
        "/assets",
        "/assets/",
        "/assets/app-1a.js/x",
        "/assets/app-1a.js.br",
        "/../web/index.html",
        "/%2e%2e/x.html",
        "/secret.key",
        "/v1/nothing",
    ] {
        let missing = site.get(path);
        assert_eq!(missing.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(
            header(&missing, "cache-control"),
            Some("no-store"),
            "{path}"
        );
    }
}

#[test]
fn a_page_that_was_not_built_says_so_and_how() {
    let site = Site::empty();
    let page = site.get("/");
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        header(&page, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(header(&page, "cache-control"), Some("no-store"));
    let text = String::from_utf8_lossy(page.body());
    assert!(
        text.contains("Node.js") && text.contains("edge -- build"),
        "{text}"
    );
    assert_eq!(
        site.get("/assets/app-1a.js").status(),
        StatusCode::NOT_FOUND
    );
}

#[test]
fn a_file_beyond_the_limit_is_an_error_not_a_truncation() {
    let site = Site::built();
    let file = std::fs::File::create(site.root.join("big.txt")).expect("created");
    file.set_len(crate::folder::FILE_BYTES_MAX + 1)
        .expect("sparse");
    assert_eq!(
        site.get("/big.txt").status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[test]
fn every_answer_carries_the_security_headers() {
    let site = Site::built();
    let url = [("spin-full-url", "https://chat.example.org/")];
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/missing"),
        ("POST", "/"),
        ("HEAD", "/"),
    ] {
        let response = site.ask(method, path, &url);
        let policy = header(&response, "content-security-policy").unwrap_or_default();
        assert!(policy.contains("frame-ancestors 'none'"), "{method} {path}");
        assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&response, "referrer-policy"), Some("no-referrer"));
        assert_eq!(
            header(&response, "strict-transport-security"),
            Some("max-age=31536000")
        );
    }
    assert_eq!(header(&site.get("/"), "strict-transport-security"), None);
}
