//! Speaks to stores by the interfaces of wasi:keyvalue, and reads wasi:config.

use bytes::Bytes;
use http_body_util::Full;
use spin_sdk::http::{self, BoxBody, Request, box_body};
use spin_sdk::http_service;

mod bindings {
    spin_sdk::wit_bindgen::generate!({
        inline: "package apps:buckets; world buckets {
            include wasi:keyvalue/imports@0.2.0-draft2;
            include wasi:config/imports@0.2.0-draft-2024-09-27;
        }",
        path: [
            "../../../edge/bindings/wit/deps/wasi-keyvalue-2024-10-17",
            "../../../edge/bindings/wit/deps/wasi-runtime-config-2024-09-27",
        ],
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

use bindings::wasi::config::store as config;
use bindings::wasi::keyvalue::{atomics, batch, store};

#[http_service]
async fn handle(request: Request) -> http::Response<BoxBody> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let done = match request.uri().path() {
        "/store" => values(&query),
        "/batch" => many(&query),
        "/increment" => increment(&query),
        "/swap" => swap(&query),
        "/config" => Ok(format!("{:?}", config::get(&query))),
        "/config-all" => Ok(all()),
        _ => Ok("no such deed".to_owned()),
    };
    let body = done.unwrap_or_else(|error| format!("failed: {error:?}"));
    http::Response::new(box_body(Full::new(Bytes::from(body))))
}

fn values(label: &str) -> Result<String, store::Error> {
    let bucket = store::open(label)?;
    bucket.set("one", b"1")?;
    let (kept, none) = (bucket.get("one")?, bucket.get("none")?);
    let (there, absent) = (bucket.exists("one")?, bucket.exists("none")?);
    let keys = bucket.list_keys(None)?.keys;
    bucket.delete("one")?;
    bucket.delete("one")?;
    Ok(format!("{kept:?} {none:?} {there} {absent} {keys:?} {}", bucket.exists("one")?))
}

fn many(label: &str) -> Result<String, store::Error> {
    let bucket = store::open(label)?;
    let pairs = [("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])];
    batch::set_many(&bucket, &pairs)?;
    let keys = ["a", "none", "b"].map(str::to_owned);
    let found = batch::get_many(&bucket, &keys)?;
    batch::delete_many(&bucket, &keys)?;
    Ok(format!("{found:?} {:?}", bucket.list_keys(None)?.keys))
}

fn increment(label: &str) -> Result<String, store::Error> {
    let bucket = store::open(label)?;
    let first = atomics::increment(&bucket, "count", 5)?;
    let second = atomics::increment(&bucket, "count", -7)?;
    bucket.delete("count")?;
    Ok(format!("{first} {second}"))
}

/// A swap that holds, and one that comes too late.
fn swap(label: &str) -> Result<String, store::Error> {
    let bucket = store::open(label)?;
    bucket.set("swapped", b"old")?;
    let cas = atomics::Cas::new(&bucket, "swapped")?;
    let current = cas.current()?.map(|value| String::from_utf8_lossy(&value).into_owned());
    let held = atomics::swap(cas, b"new").is_ok();
    let late = atomics::Cas::new(&bucket, "swapped")?;
    late.current()?;
    bucket.set("swapped", b"newer")?;
    let refused = atomics::swap(late, b"too late").is_err();
    let kept = bucket.get("swapped")?.unwrap_or_default();
    bucket.delete("swapped")?;
    Ok(format!("{current:?} {held} {refused} {}", String::from_utf8_lossy(&kept)))
}

fn all() -> String {
    let mut all = config::get_all().unwrap_or_default();
    all.sort();
    format!("{all:?}")
}
