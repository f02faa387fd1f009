//! Speaks to the Redis server whose URL is a variable, and to a store that is on Redis.

use bytes::Bytes;
use http_body_util::Full;
use spin_sdk::http::{self, BoxBody, Request, box_body};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::redis::{Connection, RedisParameter};

type Failure = Box<dyn std::error::Error>;

#[http_service]
async fn handle(request: Request) -> http::Response<BoxBody> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let done = match request.uri().path() {
        "/commands" => commands().await,
        "/types" => types().await,
        "/open" => open(&query).await,
        "/store" => store().await,
        "/variable" => Ok(spin_sdk::variables::get(&query).await.unwrap_or_default()),
        _ => Err("no such deed".into()),
    };
    let body = done.unwrap_or_else(|error| format!("failed: {error}"));
    http::Response::new(box_body(Full::new(Bytes::from(body))))
}

async fn connect() -> Result<Connection, Failure> {
    let url = spin_sdk::variables::get("redis").await?;
    Ok(Connection::open(&url).await?)
}

async fn commands() -> Result<String, Failure> {
    let redis = connect().await?;
    let mut lines = Vec::new();
    redis.del(["n", "v", "s"].map(str::to_owned)).await?;
    lines.push(format!("incr {} {}", redis.incr("n").await?, redis.incr("n").await?));
    redis.set("v", b"\x00\xff").await?;
    lines.push(format!("get {:?} {:?}", redis.get("v").await?, redis.get("none").await?));
    let added = redis.sadd("s", ["a", "b", "a"].map(str::to_owned)).await?;
    let gone = redis.srem("s", ["b".to_owned()]).await?;
    lines.push(format!("set {added} {gone} {:?}", redis.smembers("s").await?));
    redis.publish("channel", b"nobody listens").await?;
    lines.push(format!("del {}", redis.del(["n", "v"].map(str::to_owned)).await?));
    Ok(lines.join("\n"))
}

async fn types() -> Result<String, Failure> {
    let redis = connect().await?;
    let bytes = |text: &str| RedisParameter::Binary(text.as_bytes().to_vec());
    let range = [bytes("l"), RedisParameter::Int64(0), RedisParameter::Int64(-1)];
    redis.del(["l".to_owned()]).await?;
    let pushed = redis.execute("RPUSH", [bytes("l"), bytes("x"), RedisParameter::Int64(7)]).await?;
    let listed = redis.execute("LRANGE", range).await?;
    let pong = redis.execute("PING", []).await?;
    let wrong = redis.incr("l").await;
    Ok(format!("{pushed:?}\n{listed:?}\n{pong:?}\n{wrong:?}"))
}

async fn open(url: &str) -> Result<String, Failure> {
    Ok(format!("{:?}", Connection::open(url).await.map(|_| "opened")))
}

async fn store() -> Result<String, Failure> {
    let store = Store::open("default").await?;
    for key in ["one", "two"] {
        store.set(key, key).await?;
    }
    store.delete("one").await?;
    let kept = store.get("two").await?.unwrap_or_default();
    let keys = store.get_keys().await.collect().await?;
    let (one, two) = (store.exists("one").await?, store.exists("two").await?);
    let listed = keys.contains(&"two".to_owned()) && !keys.contains(&"one".to_owned());
    Ok(format!("{} {one} {two} {listed}", String::from_utf8(kept)?))
}
