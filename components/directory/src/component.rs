//! The component: the host's HTTP, clock, randomness and database.
//!
//! It converts and does IO; what is answered is decided elsewhere.

use crate::routes::{Public, Route};
use crate::{bootstrap, routes, schema, verify};
use bytes::Bytes;
use records::spin::SpinDatabase;
use regional::{Answer, ApiError, door};
use spin_sdk::http::{FullBody, Request, Response};
use spin_sdk::http_service;

/// The SQLite database that the manifest grants.
const DATABASE: &str = "directory";

#[http_service]
async fn handle(request: Request) -> Response<FullBody<Bytes>> {
    door::respond("directory", answer(request).await)
}

async fn answer(request: Request) -> Result<Answer, ApiError> {
    let incoming = door::receive(request)?;
    match routes::route(&incoming.asked)? {
        Route::Bootstrap => {
            bootstrap::bootstrap(&open().await?, door::now_ms(), door::random).await
        }
        Route::Verify => {
            let asked = incoming.read_private().await?;
            verify::verify(&open().await?, &asked.body, door::now_ms()).await
        }
        Route::Lives(key) => verify::lives(&open().await?, &key, door::now_ms()).await,
        Route::Public(route) => {
            let visitor = door::enter(&incoming).await?;
            let answer = public(&visitor, &route, incoming).await;
            Ok(visitor.tell_limits(answer.unwrap_or_else(Answer::from)))
        }
    }
}

async fn public(
    visitor: &door::Visitor,
    route: &Public,
    incoming: door::Incoming,
) -> Result<Answer, ApiError> {
    routes::may(&visitor.principal)?;
    let asked = visitor
        .read(incoming, routes::body_bytes_max(route))
        .await?;
    let database = open().await?;
    routes::serve(
        &database,
        &visitor.principal,
        route,
        &asked,
        door::now_ms(),
        door::random,
    )
    .await
}

async fn open() -> Result<SpinDatabase, ApiError> {
    let database = SpinDatabase::open(DATABASE).await?;
    records::migrate(&database, schema::STEPS).await?;
    Ok(database)
}
