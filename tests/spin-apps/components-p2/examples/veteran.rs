//! Does by the last word of its path what it is asked, as it is written against WASI 0.2.

use futures::{SinkExt as _, StreamExt as _};
use spin_sdk::http::{self, Headers, IncomingRequest, OutgoingResponse, ResponseOutparam};
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::{http_component, redis, variables};

#[http_component]
async fn handle(request: IncomingRequest, answer: ResponseOutparam) {
    let whole = request.path_with_query().unwrap_or_default();
    let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
    let told = match path.rsplit('/').next().unwrap_or("") {
        "silent" => return,
        "trap" => panic!("told to"),
        "body" => return echo(request, answer).await,
        "status" => return status(query, answer),
        "big" => return big(query, answer).await,
        "length" => length(request).await,
        "keys" => keys(query),
        "sql" => sql(query),
        "variable" => Ok(format!("{:?}", variables::get(query))),
        "redis" => commands(),
        "fetch" => fetch(query).await,
        "environment" => Ok(format!("{:?}", std::env::vars().collect::<Vec<_>>())),
        _ => Ok(headers(&request, path)),
    };
    let body = told.unwrap_or_else(|error| format!("failed: {error:?}"));
    let response = OutgoingResponse::new(Headers::new());
    let _ = answer.set_with_body(response, body.into_bytes()).await;
}

fn headers(request: &IncomingRequest, path: &str) -> String {
    let fields = request.headers();
    let header = |name: &str| {
        let values = fields.get(&name.to_owned());
        values.first().map_or("-".to_owned(), |v| String::from_utf8_lossy(v).into_owned())
    };
    let (route, rest) = (header("spin-matched-route"), header("spin-path-info"));
    format!("{path}\nroute {route}\nrest {rest}\nname {}", header("spin-path-match-name"))
}

/// Sends every chunk back as it comes.
async fn echo(request: IncomingRequest, answer: ResponseOutparam) {
    let response = OutgoingResponse::new(Headers::new());
    let mut body = response.take_body();
    answer.set(response);
    let mut chunks = request.into_body_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        if body.send(chunk).await.is_err() {
            return;
        }
    }
}

fn status(code: &str, answer: ResponseOutparam) {
    let response = OutgoingResponse::new(Headers::new());
    let _ = response.set_status_code(code.parse().unwrap_or(500));
    answer.set(response);
}

/// That many letters, streamed.
async fn big(bytes: &str, answer: ResponseOutparam) {
    let mut left: usize = bytes.parse().unwrap_or(0);
    let response = OutgoingResponse::new(Headers::new());
    let mut body = response.take_body();
    answer.set(response);
    while left > 0 {
        let chunk = left.min(1 << 16);
        left -= chunk;
        if body.send(vec![b'x'; chunk]).await.is_err() {
            return;
        }
    }
}

async fn length(request: IncomingRequest) -> anyhow::Result<String> {
    let body = request.into_body().await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(body.len().to_string())
}

fn keys(label: &str) -> anyhow::Result<String> {
    let store = Store::open(label)?;
    store.set("one", b"1")?;
    let (kept, none) = (store.get("one")?, store.get("none")?);
    let (there, keys) = (store.exists("one")?, store.get_keys()?);
    store.delete("one")?;
    Ok(format!("{kept:?} {none:?} {there} {keys:?} {}", store.exists("one")?))
}

fn sql(label: &str) -> anyhow::Result<String> {
    let database = Connection::open(label)?;
    database.execute("CREATE TABLE IF NOT EXISTS old (i INTEGER, t TEXT)", &[])?;
    database.execute("DELETE FROM old", &[])?;
    let row = [Value::Integer(-7), Value::Text("é".to_owned())];
    database.execute("INSERT INTO old VALUES (?, ?)", &row)?;
    let found = database.execute("SELECT * FROM old", &[])?;
    let values: Vec<_> = found.rows.iter().map(|row| &row.values).collect();
    Ok(format!("{:?} {values:?}", found.columns))
}

fn commands() -> anyhow::Result<String> {
    let server = redis::Connection::open(&variables::get("redis")?)?;
    server.set("old", &b"41".to_vec())?;
    let after = server.incr("old")?;
    let kept = server.get("old")?;
    server.del(&["old".to_owned()])?;
    Ok(format!("{after} {kept:?} {:?}", server.get("old")?))
}

async fn fetch(url: &str) -> anyhow::Result<String> {
    let answer: http::Response = http::send(http::Request::get(url).build()).await?;
    Ok(format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body())))
}
