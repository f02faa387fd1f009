//! Which request is for whom: paths and methods to typed routes.
//!
//! It is the first thing that a request meets here. It does not know who asks.

use crate::quota::Quota;
use crate::{conversations, items};
use records::Database;
use regional::{Answer, ApiError, Asked, Principal, Role};

/// Where `session`'s outbox delivers turns.
pub const TURNS_PATH: &str = "/internal/turns";

/// Where random bytes come from.
pub type Random = fn(&mut [u8]) -> Result<(), ApiError>;

/// Bytes of a body with items, at most. It is in memory about four times while it is stored, and
/// an instance of 128 MiB serves 16 requests at once.
const ITEMS_BODY_BYTES_MAX: usize = 1_280 << 10;
/// Bytes of a body with metadata, at most: all that it may be, each character escaped.
const METADATA_BODY_BYTES_MAX: usize = 256 << 10;

/// What a change is made with.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Milliseconds since the Unix epoch.
    pub ms: i64,
    /// For new ids.
    pub random: Random,
    /// Of every project.
    pub quota: &'a Quota,
}

/// A request's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Private: turns from the edge.
    Turns,
    /// Private: the newest part of a project's conversation.
    History(String, String),
    /// Private: has the project room for one more turn?
    Room(String),
    /// Private: do the variables mean something?
    Check,
    /// Everything that a project's key asks.
    Public(Public),
}

/// A public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Public {
    /// The project's conversations.
    List,
    /// A new one.
    Create,
    /// One.
    Get(String),
    /// Its metadata, anew.
    Update(String),
    /// Its end, and its items'.
    Delete(String),
    /// Its items.
    ListItems(String),
    /// More items.
    CreateItems(String),
}

/// The route, or 404 or 405.
pub fn route(asked: &Asked) -> Result<Route, ApiError> {
    let method = asked.method.as_str();
    let wrong_method = |allow| Err(ApiError::method_not_allowed(method, &asked.path, allow));
    let public = match (asked.parts().as_slice(), method) {
        (["internal", "turns"], "POST") => return Ok(Route::Turns),
        (["internal", "turns"], _) => return wrong_method("POST"),
        (["internal", "check"], "POST") => return Ok(Route::Check),
        (["internal", "check"], _) => return wrong_method("POST"),
        (["internal", "projects", project, "room"], "GET") => {
            return Ok(Route::Room((*project).to_owned()));
        }
        (["internal", "projects", _, "room"], _) => return wrong_method("GET"),
        (
            [
                "internal",
                "projects",
                project,
                "conversations",
                id,
                "messages",
            ],
            "GET",
        ) => {
            return Ok(Route::History((*project).to_owned(), (*id).to_owned()));
        }
        (["internal", "projects", _, "conversations", _, "messages"], _) => {
            return wrong_method("GET");
        }
        (["v1", "conversations"], "GET") => Public::List,
        (["v1", "conversations"], "POST") => Public::Create,
        (["v1", "conversations"], _) => return wrong_method("GET, POST"),
        (["v1", "conversations", id], method) if !id.is_empty() => match method {
            "GET" => Public::Get((*id).to_owned()),
            "POST" => Public::Update((*id).to_owned()),
            "DELETE" => Public::Delete((*id).to_owned()),
            _ => return wrong_method("GET, POST, DELETE"),
        },
        (["v1", "conversations", id, "items"], method) if !id.is_empty() => match method {
            "GET" => Public::ListItems((*id).to_owned()),
            "POST" => Public::CreateItems((*id).to_owned()),
            _ => return wrong_method("GET, POST"),
        },
        _ => return Err(ApiError::unknown_route(method, &asked.path)),
    };
    Ok(Route::Public(public))
}

/// The conversation whose history is another one once this is answered.
pub fn changed(route: &Public) -> Option<&str> {
    match route {
        Public::Delete(id) | Public::CreateItems(id) => Some(id),
        Public::List
        | Public::Create
        | Public::Get(_)
        | Public::Update(_)
        | Public::ListItems(_) => None,
    }
}

/// Bytes of a route's body, at most; 0 where it takes none.
pub fn body_bytes_max(route: &Public) -> usize {
    match route {
        Public::Create | Public::CreateItems(_) => ITEMS_BODY_BYTES_MAX,
        Public::Update(_) => METADATA_BODY_BYTES_MAX,
        Public::List | Public::Get(_) | Public::Delete(_) | Public::ListItems(_) => 0,
    }
}

/// Whether a route destroys what it cannot bring back: for such a one the key is looked at anew.
pub fn is_final(route: &Public) -> bool {
    match route {
        Public::Update(_) | Public::Delete(_) => true,
        Public::List
        | Public::Create
        | Public::Get(_)
        | Public::ListItems(_)
        | Public::CreateItems(_) => false,
    }
}

/// A reader reads; owners and members write too.
pub fn may(who: &Principal, route: &Public) -> Result<(), ApiError> {
    let reads = matches!(route, Public::List | Public::Get(_) | Public::ListItems(_));
    if reads || who.is(Role::Owner) || who.is(Role::Member) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "This API key may read conversations, and not change them.",
    ))
}

/// Answers a public request.
pub async fn serve(
    database: &impl Database,
    who: &Principal,
    route: &Public,
    asked: &Asked,
    now: &Now<'_>,
) -> Result<Answer, ApiError> {
    match route {
        Public::List => conversations::list(database, who, asked).await,
        Public::Create => conversations::create(database, who, asked, now).await,
        Public::Get(id) => conversations::get(database, who, id).await,
        Public::Update(id) => conversations::update(database, who, id, asked, now.quota).await,
        Public::Delete(id) => conversations::delete(database, who, id).await,
        Public::ListItems(id) => items::list(database, who, id, asked).await,
        Public::CreateItems(id) => items::create(database, who, id, asked, now).await,
    }
}
