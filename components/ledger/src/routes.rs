//! Which request is for whom: paths and methods to routes.
//!
//! It is the first thing that a request meets here. It does not know who asks.

use regional::{ApiError, Asked};

/// Where `billing`'s outbox delivers.
pub const APPLY_PATH: &str = "/internal/usage";
/// Where usage is read.
pub const COMPLETIONS_PATH: &str = "/v1/organization/usage/completions";

/// A request's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Private: events come in.
    Apply,
    /// Public: usage goes out.
    Completions,
}

/// The route, or 404 or 405.
pub fn route(asked: &Asked) -> Result<Route, ApiError> {
    let (route, allow) = match asked.path.as_str() {
        APPLY_PATH => (Route::Apply, "POST"),
        COMPLETIONS_PATH => (Route::Completions, "GET"),
        path => return Err(ApiError::unknown_route(&asked.method, path)),
    };
    match asked.method == allow {
        true => Ok(route),
        false => Err(ApiError::method_not_allowed(
            &asked.method,
            &asked.path,
            allow,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods() {
        let check = |method: &str, path: &str, expected: Result<Route, u16>| {
            let asked = Asked {
                method: method.to_owned(),
                path: path.to_owned(),
                query: None,
                authorization: None,
                body: Vec::new(),
            };
            assert_eq!(
                route(&asked).map_err(|error| error.status()),
                expected,
                "{path}"
            );
        };
        check("POST", APPLY_PATH, Ok(Route::Apply));
        check("GET", APPLY_PATH, Err(405));
        check("GET", COMPLETIONS_PATH, Ok(Route::Completions));
        check("POST", COMPLETIONS_PATH, Err(405));
        check("GET", "/v1/organization/usage/completions/", Err(404));
        check("GET", "/v1/organization/usage/embeddings", Err(404));
        check(
            "POST",
            "/v1/organization/usage/../../internal/usage",
            Err(404),
        );
    }
}
