//! Speaks to PostgreSQL by each of the three interfaces that SDK 5 has for it.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::{http_component, pg, pg3, pg4, variables};

const TYPES: &str = "SELECT true, 1::int2, 2::int4, 3::int8, 0.5::float4, 0.25::float8, 'a'::text, \
     '\\x00ff'::bytea, NULL::text, '2026-07-28'::date, '1.50'::numeric";

#[http_component]
fn handle(request: Request) -> anyhow::Result<impl IntoResponse> {
    let address = variables::get("postgres")?;
    let told = match request.path() {
        "/elder/v2" => v2(&address)?,
        "/elder/v3" => v3(&address)?,
        "/elder/v4" => v4(&address)?,
        _ => "no such deed".to_owned(),
    };
    Ok(Response::new(200, told))
}

fn v2(address: &str) -> anyhow::Result<String> {
    use pg::ParameterValue as P;
    let database = pg::Connection::open(address)?;
    let changed = database.execute("SELECT 1 WHERE $1::int4 = 2", &[P::Int32(2)])?;
    let answer = database.query(TYPES, &[])?;
    let types: Vec<_> = answer.columns.iter().map(|column| column.data_type).collect();
    let unsigned = database.query("SELECT $1::int4", &[P::Uint32(1)]);
    let refused = database.query("SELECT nothing", &[]).map(|answer| answer.rows);
    Ok(format!("{changed}\n{types:?}\n{:?}\n{unsigned:?}\n{refused:?}", answer.rows))
}

fn v3(address: &str) -> anyhow::Result<String> {
    use pg3::ParameterValue as P;
    let database = pg3::Connection::open(address)?;
    let answer = database.query(TYPES, &[])?;
    let dates = "SELECT $1::date, $2::time, $3::timestamp, $4::timestamptz";
    let given = [
        P::Date((2026, 7, 28)),
        P::Time((1, 2, 3, 4_000)),
        P::Datetime((2026, 7, 28, 1, 2, 3, 0)),
        P::Timestamp(0),
    ];
    let dates = database.query(dates, &given)?;
    Ok(format!("{:?}\n{:?}", answer.rows, dates.rows))
}

fn v4(address: &str) -> anyhow::Result<String> {
    use pg4::ParameterValue as P;
    let database = pg4::Connection::open(address)?;
    let answer = database.query("SELECT $1::numeric, $2::uuid", &[
        P::Decimal("1.50".to_owned()),
        P::Uuid("00112233-4455-6677-8899-aabbccddeeff".to_owned()),
    ])?;
    Ok(format!("{:?}", answer.rows))
}
