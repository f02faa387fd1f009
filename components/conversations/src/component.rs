//! The component: the host's HTTP, clock, randomness and database.
//!
//! It converts and does IO; what is answered is decided elsewhere.

use crate::routes::{Public, Route, changed};
use crate::{routes, schema, turns};
use bytes::Bytes;
use records::spin::SpinDatabase;
use regional::{Answer, ApiError, Asked, door};
use spin_sdk::http::{FullBody, Request, Response};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;

/// The key-value store in which `session` caches histories.
const STORE: &str = "histories";
/// The SQLite database that the manifest grants.
const DATABASE: &str = "conversations";

#[http_service]
async fn handle(request: Request) -> Response<FullBody<Bytes>> {
    door::respond("conversations", answer(request).await)
}

async fn answer(request: Request) -> Result<Answer, ApiError> {
    let asked = door::read(request).await?;
    match routes::route(&asked)? {
        Route::Turns => turns::apply(&open().await?, &asked.body, door::now_ms()).await,
        Route::History(project, id) => turns::history(&open().await?, &project, &id).await,
        Route::Public(route) => {
            let visitor = door::enter(&asked).await?;
            let answer = public(&visitor, &route, &asked).await;
            Ok(visitor.tell_limits(answer.unwrap_or_else(Answer::from)))
        }
    }
}

async fn public(
    visitor: &door::Visitor,
    route: &Public,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let who = &visitor.principal;
    routes::may(who, route)?;
    let database = open().await?;
    let answer = routes::serve(&database, who, route, asked, door::now_ms(), door::random).await?;
    if let Some(conversation) = changed(route) {
        forget(&turns::cached_history(&who.project_id, conversation)).await;
    }
    Ok(answer)
}

/// The next turn of this edge sees the change. A cache that fails is believed for 30 s, as that
/// of another edge is.
async fn forget(key: &str) {
    if let Ok(store) = Store::open(STORE).await {
        drop(store.delete(key).await);
    }
}

async fn open() -> Result<SpinDatabase, ApiError> {
    let database = SpinDatabase::open(DATABASE).await?;
    records::migrate(&database, schema::STEPS).await?;
    Ok(database)
}
