//! Keeps, reads and tells what it was granted: stores, databases, variables, files.

use bytes::Bytes;
use http_body_util::Full;
use spin_sdk::http::{self, BoxBody, Request, box_body};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};

type Failure = Box<dyn std::error::Error>;

#[http_service]
async fn handle(request: Request) -> http::Response<BoxBody> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let words: Vec<&str> = query.split('+').collect();
    let done = match (request.uri().path(), words.as_slice()) {
        ("/set", [store, key, value]) => set(store, key, value).await,
        ("/get", [store, key]) => get(store, key).await,
        ("/keys", [store]) => keys(store).await,
        ("/delete", [store, key]) => delete(store, key).await,
        ("/sum", [database]) => sum(database).await,
        ("/variable", [name]) => Ok(format!("{:?}", spin_sdk::variables::get(name).await)),
        ("/file", [path]) => Ok(std::fs::read_to_string(path)
            .unwrap_or_else(|error| format!("{:?}", error.kind()))),
        ("/write", [path]) => Ok(format!("{}", std::fs::write(path, "x").is_ok())),
        ("/environment", _) => Ok(format!("{:?}", std::env::vars().collect::<Vec<_>>())),
        _ => Err("no such deed".into()),
    };
    let (status, body) = match done {
        Ok(body) => (200, body),
        Err(error) => (502, error.to_string()),
    };
    let mut response = http::Response::new(box_body(Full::new(Bytes::from(body))));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

async fn set(store: &str, key: &str, value: &str) -> Result<String, Failure> {
    Store::open(store).await?.set(key, value).await?;
    Ok("kept".to_owned())
}

async fn get(store: &str, key: &str) -> Result<String, Failure> {
    let value = Store::open(store).await?.get(key).await?;
    Ok(value.map_or("nothing".to_owned(), |v| String::from_utf8_lossy(&v).into_owned()))
}

async fn delete(store: &str, key: &str) -> Result<String, Failure> {
    Store::open(store).await?.delete(key).await?;
    Ok("gone".to_owned())
}

async fn keys(store: &str) -> Result<String, Failure> {
    let mut keys = Store::open(store).await?.get_keys().await.collect().await?;
    keys.sort();
    Ok(keys.join(","))
}

/// One of each type of value, in and out.
async fn sum(database: &str) -> Result<String, Failure> {
    let database = Connection::open(database).await?;
    let create = "CREATE TABLE t (i INTEGER, r REAL, t TEXT, b BLOB, n TEXT)";
    database.execute("DROP TABLE IF EXISTS t", []).await?;
    database.execute(create, []).await?;
    let row = [
        Value::Integer(-7),
        Value::Real(0.5),
        Value::Text("é".to_owned()),
        Value::Blob(vec![0, 255]),
        Value::Null,
    ];
    database.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", row).await?;
    let rows = database.execute("SELECT * FROM t", []).await?.collect().await?;
    Ok(format!("{:?}", rows[0].values))
}
