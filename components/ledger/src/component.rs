//! The component: the host's HTTP, clock and database.
//!
//! It converts and does IO; what is answered is decided elsewhere.

use crate::routes::Route;
use crate::{apply, routes, schema, usage};
use bytes::Bytes;
use records::spin::SpinDatabase;
use regional::{Answer, ApiError, Asked, door};
use spin_sdk::http::{FullBody, Request, Response};
use spin_sdk::http_service;

/// The SQLite database that the manifest grants.
const DATABASE: &str = "ledger";

#[http_service]
async fn handle(request: Request) -> Response<FullBody<Bytes>> {
    door::respond("ledger", answer(request).await)
}

async fn answer(request: Request) -> Result<Answer, ApiError> {
    let incoming = door::receive(request)?;
    match routes::route(&incoming.asked)? {
        Route::Apply => {
            let asked = incoming.read_private().await?;
            apply::apply(&open().await?, &asked.body, door::now_ms()).await
        }
        Route::Completions => {
            let visitor = door::enter(&incoming).await?;
            let answer = completions(&visitor, &incoming.asked).await;
            Ok(visitor.tell_limits(answer.unwrap_or_else(Answer::from)))
        }
    }
}

async fn completions(visitor: &door::Visitor, asked: &Asked) -> Result<Answer, ApiError> {
    let database = open().await?;
    let query = asked.query.as_deref();
    usage::completions(&database, &visitor.principal, query, door::now_ms()).await
}

async fn open() -> Result<SpinDatabase, ApiError> {
    let database = SpinDatabase::open(DATABASE).await?;
    records::migrate(&database, schema::STEPS).await?;
    Ok(database)
}
