//! Which request is for whom: paths and methods to typed routes.
//!
//! It is the first thing that a request meets here. It does not know who asks.

use crate::make::Random;
use crate::{authority, keys, projects};
use api_key::wire::VERIFY_PATH;
use records::Database;
use regional::{Answer, ApiError, Asked, Principal, Role};

/// Where the host asks for the first key.
pub const BOOTSTRAP_PATH: &str = "/internal/bootstrap";

/// Bytes of a body, at most: names and numbers fit many times over.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A request's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Private: the first key.
    Bootstrap,
    /// Private: whose key is this?
    Verify,
    /// Private: does the key of that id still live?
    Lives(String),
    /// Everything that a key's owner asks.
    Public(Public),
}

/// A public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Public {
    /// The organisation's projects.
    ListProjects,
    /// A new project.
    CreateProject,
    /// One project.
    GetProject(String),
    /// Changes a project.
    UpdateProject(String),
    /// A project's keys.
    ListKeys(String),
    /// A new key of a project.
    CreateKey(String),
    /// One key of a project.
    GetKey(String, String),
    /// The end of a key.
    DeleteKey(String, String),
}

/// The route, or 404 or 405.
pub fn route(asked: &Asked) -> Result<Route, ApiError> {
    let method = asked.method.as_str();
    let wrong_method = |allow| Err(ApiError::method_not_allowed(method, &asked.path, allow));
    let public = match (asked.parts().as_slice(), method) {
        _ if asked.path == BOOTSTRAP_PATH => match method {
            "POST" => return Ok(Route::Bootstrap),
            _ => return wrong_method("POST"),
        },
        _ if asked.path == VERIFY_PATH => match method {
            "POST" => return Ok(Route::Verify),
            _ => return wrong_method("POST"),
        },
        (["internal", "keys", key], "GET") => return Ok(Route::Lives((*key).to_owned())),
        (["internal", "keys", _], _) => return wrong_method("GET"),
        (["v1", "organization", "projects"], method) => match method {
            "GET" => Public::ListProjects,
            "POST" => Public::CreateProject,
            _ => return wrong_method("GET, POST"),
        },
        (["v1", "organization", "projects", project], method) if !project.is_empty() => {
            match method {
                "GET" => Public::GetProject((*project).to_owned()),
                "POST" => Public::UpdateProject((*project).to_owned()),
                _ => return wrong_method("GET, POST"),
            }
        }
        (["v1", "organization", "projects", project, "api_keys"], method) => match method {
            "GET" => Public::ListKeys((*project).to_owned()),
            "POST" => Public::CreateKey((*project).to_owned()),
            _ => return wrong_method("GET, POST"),
        },
        (["v1", "organization", "projects", project, "api_keys", key], method)
            if !key.is_empty() =>
        {
            match method {
                "GET" => Public::GetKey((*project).to_owned(), (*key).to_owned()),
                "DELETE" => Public::DeleteKey((*project).to_owned(), (*key).to_owned()),
                _ => return wrong_method("GET, DELETE"),
            }
        }
        _ => return Err(ApiError::unknown_route(method, &asked.path)),
    };
    Ok(Route::Public(public))
}

/// All public routes are for owners.
pub fn may(who: &Principal) -> Result<(), ApiError> {
    match who.is(Role::Owner) {
        true => Ok(()),
        false => Err(ApiError::forbidden(
            "This API key may not manage the organization. Use one of role 'owner'.",
        )),
    }
}

/// Bytes of a route's body, at most; 0 where it takes none.
pub fn body_bytes_max(route: &Public) -> usize {
    match route {
        Public::CreateProject | Public::UpdateProject(_) | Public::CreateKey(_) => BODY_BYTES_MAX,
        Public::ListProjects
        | Public::GetProject(_)
        | Public::ListKeys(_)
        | Public::GetKey(..)
        | Public::DeleteKey(..) => 0,
    }
}

/// Answers a public request of an owner. The door knows the key from a cache, so it is looked at
/// here once more; a change does so again in its own statement.
pub async fn serve(
    database: &impl Database,
    who: &Principal,
    route: &Public,
    asked: &Asked,
    now_ms: i64,
    random: Random,
) -> Result<Answer, ApiError> {
    authority::must_live(database, who, now_ms).await?;
    match route {
        Public::ListProjects => projects::list(database, who, asked).await,
        Public::CreateProject => projects::create(database, who, asked, now_ms, random).await,
        Public::GetProject(project) => projects::get(database, who, project).await,
        Public::UpdateProject(project) => {
            projects::update(database, who, project, asked, now_ms).await
        }
        Public::ListKeys(project) => keys::list(database, who, project, asked).await,
        Public::CreateKey(project) => {
            keys::create(database, who, project, asked, now_ms, random).await
        }
        Public::GetKey(project, key) => keys::get(database, who, project, key).await,
        Public::DeleteKey(project, key) => keys::delete(database, who, project, key, now_ms).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, expected: Result<Route, u16>) {
        let asked = Asked {
            method: method.to_owned(),
            path: path.to_owned(),
            query: None,
            authorization: None,
            body: Vec::new(),
        };
        let found = route(&asked).map_err(|error| error.status());
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn paths_and_methods() {
        let public = |public| Ok(Route::Public(public));
        let base = "/v1/organization/projects";
        check("POST", "/internal/bootstrap", Ok(Route::Bootstrap));
        check("GET", "/internal/bootstrap", Err(405));
        check("POST", "/internal/keys/verify", Ok(Route::Verify));
        check("POST", "/internal/keys/verify/", Err(404));
        check(
            "GET",
            "/internal/keys/key_1",
            Ok(Route::Lives("key_1".into())),
        );
        check("DELETE", "/internal/keys/key_1", Err(405));
        check("GET", base, public(Public::ListProjects));
        check("PUT", base, Err(405));
        check(
            "GET",
            &format!("{base}/p"),
            public(Public::GetProject("p".into())),
        );
        check(
            "POST",
            &format!("{base}/p"),
            public(Public::UpdateProject("p".into())),
        );
        check("DELETE", &format!("{base}/p"), Err(405));
        check("GET", &format!("{base}/"), Err(404));
        check(
            "POST",
            &format!("{base}/p/api_keys"),
            public(Public::CreateKey("p".into())),
        );
        check(
            "DELETE",
            &format!("{base}/p/api_keys/k"),
            public(Public::DeleteKey("p".into(), "k".into())),
        );
        check("POST", &format!("{base}/p/api_keys/k"), Err(405));
        check("GET", &format!("{base}/p/api_keys/k/x"), Err(404));
        check(
            "GET",
            &format!("{base}/../../../internal/bootstrap"),
            Err(404),
        );
        check("GET", &format!("{base}/p/users"), Err(404));
    }
}
