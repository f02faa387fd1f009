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
        ("/exists", [store, key]) => exists(store, key).await,
        ("/big", [store, bytes]) => big(store, bytes).await,
        ("/rows", [database]) => rows(database).await,
        ("/broken", [database]) => broken(database).await,
        ("/list", [path]) => list(path),
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

async fn exists(store: &str, key: &str) -> Result<String, Failure> {
    Ok(Store::open(store).await?.exists(key).await?.to_string())
}

/// A value of that many bytes, there and back.
async fn big(store: &str, bytes: &str) -> Result<String, Failure> {
    let (store, value) = (Store::open(store).await?, vec![7; bytes.parse()?]);
    store.set("big", &value).await?;
    let kept = store.get("big").await?;
    store.delete("big").await?;
    Ok((kept == Some(value)).to_string())
}

/// What a connection tells of what it did.
async fn rows(database: &str) -> Result<String, Failure> {
    let database = Connection::open(database).await?;
    database.execute("DROP TABLE IF EXISTS people", []).await?;
    let create = "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE)";
    database.execute(create, []).await?;
    for name in ["ann", "bob", "cyd"] {
        let name = Value::Text(name.to_owned());
        database.execute("INSERT INTO people (name) VALUES (?)", [name]).await?;
    }
    let last = database.last_insert_rowid().await;
    database.execute("UPDATE people SET name = name || '!' WHERE id > ?", [Value::Integer(1)]).await?;
    let changes = database.changes().await;
    let found = database.execute("SELECT id, name FROM people ORDER BY id", []).await?;
    let columns = found.columns().join(",");
    let names: Vec<String> = found
        .collect()
        .await?
        .iter()
        .filter_map(|row| row.get::<&str>(1).map(str::to_owned))
        .collect();
    Ok(format!("{last} {changes} {columns} {}", names.join(",")))
}

async fn broken(database: &str) -> Result<String, Failure> {
    let database = Connection::open(database).await?;
    let found = async { database.execute("SELECT absent", []).await?.collect().await }.await;
    Ok(format!("{:?}", found.map(|rows| rows.len())))
}

fn list(path: &str) -> Result<String, Failure> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(","))
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
