//! Speaks to the PostgreSQL server whose address is a variable.

use bytes::Bytes;
use http_body_util::Full;
use spin_sdk::http::{self, BoxBody, Request, box_body};
use spin_sdk::http_service;
use spin_sdk::pg::wit::postgres as wit;
use spin_sdk::pg::{Certificate, Connection, DbValue, Interval, OpenOptions};
use spin_sdk::pg::{ParameterValue as P, RangeBoundKind};

type Failure = Box<dyn std::error::Error>;

#[http_service]
async fn handle(request: Request) -> http::Response<BoxBody> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let done = match request.uri().path() {
        "/table" => table().await,
        "/types" => types().await,
        "/parameters" => parameters().await,
        "/refused" => refused().await,
        "/bad" => bad().await,
        "/stream" => stream().await,
        "/broken" => broken().await,
        "/abandoned" => abandoned().await,
        "/transaction" => transaction().await,
        "/setting" => setting().await,
        "/tls" => tls(&query).await,
        "/open" => open(&query).await,
        _ => Err("no such deed".into()),
    };
    let body = done.unwrap_or_else(|error| format!("failed: {error}"));
    http::Response::new(box_body(Full::new(Bytes::from(body))))
}

async fn address() -> Result<String, Failure> {
    Ok(spin_sdk::variables::get("postgres").await?)
}

async fn connect() -> Result<Connection, Failure> {
    Ok(Connection::open(address().await?).await?)
}

/// All rows of a query, as they are.
async fn rows(
    database: &Connection,
    statement: &str,
    parameters: Vec<P>,
) -> Result<Vec<Vec<DbValue>>, Failure> {
    let (_, mut rows, end) = database.query(statement, parameters).await?.into_inner();
    let mut all = Vec::new();
    while let Some(row) = rows.next().await {
        all.push(row);
    }
    end.await?;
    Ok(all)
}

async fn table() -> Result<String, Failure> {
    let database = connect().await?;
    database.execute("DROP TABLE IF EXISTS deeds", []).await?;
    let made = "CREATE TABLE deeds (id serial PRIMARY KEY, name text NOT NULL UNIQUE)";
    database.execute(made, []).await?;
    let insert = "INSERT INTO deeds (name) VALUES ($1), ($2)";
    let names = ["one", "two"].map(|name| P::Str(name.to_owned()));
    let added = database.execute(insert, names).await?;
    let found = database.query("SELECT id, name FROM deeds ORDER BY id", []).await?;
    let columns = format!("{:?}", found.columns());
    let mut names = Vec::new();
    for row in found.collect().await? {
        names.push((row.get::<i32>("id"), row.get::<String>("name")));
    }
    let gone = database.execute("DELETE FROM deeds WHERE id > $1", [P::Int32(1)]).await?;
    Ok(format!("{added}\n{columns}\n{names:?}\n{gone}"))
}

async fn types() -> Result<String, Failure> {
    let statement = "SELECT true, 1::int2, 2::int4, 3::int8, 0.5::float4, 0.25::float8, \
         'a'::text, 'b'::varchar(9), 'c'::char(2), '\\x00ff'::bytea, \
         '2026-07-28'::date, '23:59:59.000001'::time, '1999-12-31 23:59:59'::timestamp, \
         '2026-07-28 02:00:00+02'::timestamptz, '00112233-4455-6677-8899-aabbccddeeff'::uuid, \
         '{\"a\": [1, null]}'::jsonb, '-12345678901234567890123456789012345678901.50'::numeric, \
         '[1,5]'::int4range, '(,7)'::int8range, '(1.5,2.5]'::numrange, 'empty'::int4range, \
         '{1,NULL}'::int4[], '{2}'::int8[], '{0.10,NULL}'::numeric[], '{a,NULL}'::text[], \
         '1 month 2 days 00:00:01'::interval, '127.0.0.1'::inet, NULL::uuid";
    let database = connect().await?;
    let found = database.query(statement, []).await?;
    let names: Vec<_> = found.columns().iter().map(|c| c.data_type.clone()).collect();
    Ok(format!("{names:?}\n{:?}", rows(&database, statement, vec![]).await?))
}

async fn parameters() -> Result<String, Failure> {
    let text = |text: &str| text.to_owned();
    let end = |value: i32| Some((value, RangeBoundKind::Inclusive));
    let given = vec![
        ("bool", P::Boolean(true)),
        ("int2", P::Int16(1)),
        ("int4", P::Int32(2)),
        ("int8", P::Int64(3)),
        ("float4", P::Floating32(0.5)),
        ("float8", P::Floating64(0.25)),
        ("text", P::Str(text("a"))),
        ("bytea", P::Binary(vec![0, 255])),
        ("date", P::Date((2026, 7, 28))),
        ("time", P::Time((1, 2, 3, 4_000))),
        ("timestamp", P::Datetime((2026, 7, 28, 1, 2, 3, 0))),
        ("timestamptz", P::Timestamp(0)),
        ("uuid", P::Uuid(text("00112233-4455-6677-8899-aabbccddeeff"))),
        ("jsonb", P::Jsonb(b"{\"a\":1}".to_vec())),
        ("json", P::Jsonb(b"[1]".to_vec())),
        ("numeric", P::Decimal(text("0.10"))),
        ("int4range", P::RangeInt32((end(1), end(5)))),
        ("int8range", P::RangeInt64((None, Some((7, RangeBoundKind::Exclusive))))),
        ("numrange", P::RangeDecimal((Some((text("1.5"), RangeBoundKind::Exclusive)), None))),
        ("int4[]", P::ArrayInt32(vec![Some(1), None])),
        ("int8[]", P::ArrayInt64(vec![])),
        ("numeric[]", P::ArrayDecimal(vec![Some(text("0.10"))])),
        ("text[]", P::ArrayStr(vec![Some(text("a")), None])),
        ("interval", P::Interval(Interval { micros: 1_000_000, days: 2, months: 1 })),
        ("inet", P::DbNull),
    ];
    let database = connect().await?;
    let mut told = Vec::new();
    for (ty, value) in given {
        // The server writes what it was given in its own words.
        let statement = format!("SELECT coalesce(($1::{ty})::text, 'nothing')");
        let found = rows(&database, &statement, vec![value]).await?;
        told.push(match found[0].as_slice() {
            [DbValue::Str(text)] => format!("{ty} {text}"),
            other => format!("{ty} {other:?}"),
        });
    }
    Ok(told.join("\n"))
}

async fn refused() -> Result<String, Failure> {
    let database = connect().await?;
    let unknown = database.execute("SELECT * FROM nowhere", []).await;
    database.execute("CREATE TABLE IF NOT EXISTS ones (id int CONSTRAINT only_one UNIQUE)", []).await?;
    database.execute("DELETE FROM ones", []).await?;
    let twice = database.execute("INSERT INTO ones VALUES (1), (1)", []).await;
    let explained = |done: Result<u64, spin_sdk::pg::Error>| match done {
        Err(spin_sdk::pg::Error::PgError(wit::Error::QueryFailed(wit::QueryError::DbError(e)))) => {
            let extra = e.extras.iter().find(|(name, _)| name == "constraint");
            format!("{} {} {} {:?} {extra:?}", e.severity, e.code, e.message, e.detail)
        }
        other => format!("{other:?}"),
    };
    Ok(format!("{}\n{}", explained(unknown), explained(twice)))
}

async fn bad() -> Result<String, Failure> {
    let database = connect().await?;
    let uuid = database.query("SELECT $1::uuid", [P::Uuid("x".to_owned())]).await.err();
    let wrong = database.query("SELECT $1::int4", [P::Str("1".to_owned())]).await.err();
    Ok(format!("{uuid:?}\n{wrong:?}"))
}

/// Many more rows than are held at once.
async fn stream() -> Result<String, Failure> {
    let database = connect().await?;
    let statement = "SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) AS n";
    let (_, mut rows, end) = database.query(statement, []).await?.into_inner();
    let (mut count, mut bytes, mut sum) = (0_u64, 0, 0_i64);
    while let Some(row) = rows.next().await {
        if let [DbValue::Int32(n), DbValue::Str(text)] = row.as_slice() {
            count += 1;
            sum += i64::from(*n);
            bytes += text.len();
        }
    }
    end.await?;
    Ok(format!("{count} rows, {bytes} bytes, sum {sum}"))
}

/// A query that fails after some of its rows.
async fn broken() -> Result<String, Failure> {
    let database = connect().await?;
    let statement = "SELECT 100 / (5000 - n) FROM generate_series(1, 6000) AS n";
    let (_, mut rows, end) = database.query(statement, []).await?.into_inner();
    let mut count = 0;
    while rows.next().await.is_some() {
        count += 1;
    }
    let end = match end.await {
        Err(wit::Error::QueryFailed(wit::QueryError::DbError(error))) => error.message,
        other => format!("{other:?}"),
    };
    Ok(format!("{} rows, then {end}", count > 0))
}

/// A stream that is dropped after its first row; the connection is still of use.
async fn abandoned() -> Result<String, Failure> {
    let database = connect().await?;
    let statement = "SELECT n FROM generate_series(1, 100000) AS n";
    let mut answer = database.query(statement, []).await?;
    let first = answer.next().await.and_then(|row| row.get::<i32>("n"));
    drop(answer);
    let then = rows(&database, "SELECT 1", vec![]).await?;
    Ok(format!("{first:?} {then:?}"))
}

/// A transaction is left open; whoever has the connection next does not find it.
async fn transaction() -> Result<String, Failure> {
    let made = connect().await?;
    made.execute("CREATE TABLE IF NOT EXISTS kept (id int)", []).await?;
    made.execute("DELETE FROM kept", []).await?;
    made.execute("BEGIN", []).await?;
    made.execute("INSERT INTO kept VALUES (1)", []).await?;
    drop(made);
    let found = rows(&connect().await?, "SELECT count(*) FROM kept", vec![]).await?;
    Ok(format!("{found:?}"))
}

async fn setting() -> Result<String, Failure> {
    let first = connect().await?;
    first.execute("SET application_name = 'mine'", []).await?;
    let own = rows(&first, "SELECT current_setting('application_name')", vec![]).await?;
    drop(first);
    let next = connect().await?;
    let other = rows(&next, "SELECT current_setting('application_name')", vec![]).await?;
    Ok(format!("{own:?} {other:?}"))
}

/// Over TLS, which the server offers with a certificate of its own.
async fn tls(trusted: &str) -> Result<String, Failure> {
    let address = address().await?.replace("sslmode=disable", "sslmode=require");
    let ca_root = match trusted {
        "trusted" => {
            let certificate = spin_sdk::variables::get("certificate").await?;
            Some(Certificate::Text(certificate.replace("\\n", "\n")))
        }
        "nonsense" => Some(Certificate::Text("nonsense".to_owned())),
        _ => None,
    };
    let database = Connection::open_with_options(address, OpenOptions { ca_root }).await?;
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(format!("{:?}", rows(&database, encrypted, vec![]).await?))
}

async fn open(address: &str) -> Result<String, Failure> {
    Ok(format!("{:?}", Connection::open(address).await.map(|_| "opened").map_err(|e| e.to_string())))
}
