//! The component: the host's HTTP, clock, randomness and database.
//!
//! It converts and does IO; what is answered is decided elsewhere.

use crate::quota::Quota;
use crate::routes::{Now, Public, Route, changed};
use crate::{history, quota, routes, schema, turns};
use bytes::Bytes;
use records::spin::SpinDatabase;
use regional::{Answer, ApiError, door};
use serde_json::json;
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
    let incoming = door::receive(request)?;
    match routes::route(&incoming.asked)? {
        Route::Turns => {
            let asked = incoming.read_private().await?;
            turns::apply(&open().await?, &asked.body, door::now_ms()).await
        }
        Route::History(project, id) => {
            let query = incoming.asked.query.as_deref();
            history::read(&open().await?, &project, &id, query, &quota().await?).await
        }
        Route::Room(project) => quota::room(&open().await?, &project, &quota().await?).await,
        // The host shows the message to the operator.
        Route::Check => match read_quota().await {
            Ok(_) => Ok(Answer::ok(json!({}))),
            Err(words) => Err(ApiError::misconfigured(words)),
        },
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
    let who = &visitor.principal;
    routes::may(who, route)?;
    if routes::is_final(route) {
        visitor.must_live().await?;
    }
    let asked = visitor
        .read(incoming, routes::body_bytes_max(route))
        .await?;
    let (database, quota) = (open().await?, quota().await?);
    let now = Now {
        ms: door::now_ms(),
        random: door::random,
        quota: &quota,
    };
    let answer = routes::serve(&database, who, route, &asked, &now).await?;
    if let Some(conversation) = changed(route) {
        forget(&turns::cached_history(&who.project_id, conversation)).await;
        forget(&turns::cached_room(&who.project_id)).await;
    }
    Ok(answer)
}

async fn quota() -> Result<Quota, ApiError> {
    read_quota().await.map_err(ApiError::internal)
}

async fn read_quota() -> Result<Quota, String> {
    let mut values = [None, None, None];
    for (value, name) in values.iter_mut().zip(quota::VARIABLES) {
        *value = spin_sdk::variables::get(name).await.ok();
    }
    Quota::read(values)
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
