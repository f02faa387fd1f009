//! Which route a path takes: exact routes, `:parameter` segments and `/...` wildcards, with
//! Spin's rules of precedence.
//!
//! It knows paths and patterns; it does NOT know components or requests.

use std::cmp::Ordering;

/// A valid route as written in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoutePattern {
    raw: String,
    segments: Vec<Segment>,
    wildcard: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(String),
    Parameter(String),
}

/// A path that took a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteMatch {
    /// What the wildcard stands for: empty, or a path that begins with `/`.
    pub(crate) path_info: String,
    /// The values of the parameters, by name.
    pub(crate) parameters: Vec<(String, String)>,
}

impl RoutePattern {
    /// Reads a route: `/exact`, `/with/:parameter`, `/below/...`.
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        let bad = |what: &str| Err(format!("route {raw:?}: {what}"));
        if !raw.starts_with('/') {
            return bad("expected a path that begins with `/`");
        }
        let (path, wildcard) = match raw.strip_suffix("/...") {
            Some(path) => (path, true),
            None => (raw, false),
        };
        let mut segments = Vec::new();
        for text in split(path) {
            let segment = match text.strip_prefix(':') {
                Some("") => return bad("a parameter has no name"),
                Some(name) if !is_header_part(name) => {
                    return bad("a parameter's name is letters, digits, `-` and `_`");
                }
                Some(name) => Segment::Parameter(name.to_owned()),
                None if text == "..." || text == "*" => {
                    return bad("a wildcard is `/...`, at the end");
                }
                None => Segment::Exact(text.to_owned()),
            };
            if segments.contains(&segment) && matches!(segment, Segment::Parameter(_)) {
                return bad("a parameter is named twice");
            }
            segments.push(segment);
        }
        Ok(Self {
            raw: raw.to_owned(),
            segments,
            wildcard,
        })
    }

    /// The route as written.
    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }

    /// The route without its wildcard.
    pub(crate) fn prefix(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(&self.raw)
    }

    /// Would both take every path that the other takes?
    pub(crate) fn same_paths(&self, other: &Self) -> bool {
        self.wildcard == other.wildcard
            && self.segments.len() == other.segments.len()
            && self
                .segments
                .iter()
                .zip(&other.segments)
                .all(|pair| match pair {
                    (Segment::Exact(a), Segment::Exact(b)) => a == b,
                    (Segment::Parameter(_), Segment::Parameter(_)) => true,
                    _ => false,
                })
    }

    /// Does `path` take this route? A slash at its end makes no difference.
    pub(crate) fn matches(&self, path: &str) -> Option<RouteMatch> {
        let mut parts = split(path);
        let mut parameters = Vec::new();
        for segment in &self.segments {
            let part = parts.next()?;
            match segment {
                Segment::Exact(text) if text == part => {}
                Segment::Exact(_) => return None,
                Segment::Parameter(name) => parameters.push((name.clone(), part.to_owned())),
            }
        }
        let rest: Vec<&str> = parts.collect();
        if !self.wildcard {
            return rest.is_empty().then_some(RouteMatch {
                path_info: String::new(),
                parameters,
            });
        }
        let mut path_info = String::new();
        for part in rest {
            path_info.push('/');
            path_info.push_str(part);
        }
        if path.ends_with('/') && !path_info.ends_with('/') {
            path_info.push('/');
        }
        Some(RouteMatch {
            path_info,
            parameters,
        })
    }

    /// Orders routes that take one path: the more specific is the greater. At the first
    /// segment where two differ, exact text beats a parameter, which beats the wildcard.
    pub(crate) fn specificity(&self, other: &Self) -> Ordering {
        fn rank(pattern: &RoutePattern, at: usize) -> u8 {
            match pattern.segments.get(at) {
                Some(Segment::Exact(_)) => 3,
                Some(Segment::Parameter(_)) => 2,
                None if pattern.wildcard => 0,
                None => 1,
            }
        }
        (0..=self.segments.len().max(other.segments.len()))
            .map(|at| rank(self, at).cmp(&rank(other, at)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

/// The segments of a path, without the empty ones at its ends.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let empty = path.is_empty();
    path.split('/').filter(move |_| !empty)
}

/// A parameter's name becomes part of a header's name.
fn is_header_part(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(raw: &str) -> RoutePattern {
        RoutePattern::parse(raw).unwrap()
    }

    fn best<'a>(routes: &[&'a str], path: &str) -> Option<&'a str> {
        let mut taken: Vec<&str> = routes
            .iter()
            .copied()
            .filter(|raw| pattern(raw).matches(path).is_some())
            .collect();
        taken.sort_by(|a, b| pattern(a).specificity(&pattern(b)));
        taken.pop()
    }

    fn check(raw: &str, path: &str, expect: Option<(&str, &[(&str, &str)])>) {
        let expect = expect.map(|(path_info, parameters)| RouteMatch {
            path_info: path_info.to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        });
        assert_eq!(pattern(raw).matches(path), expect, "{raw} {path}");
    }

    #[test]
    fn paths_take_routes() {
        check("/", "/", Some(("", &[])));
        check("/", "/x", None);
        check("/foo", "/foo", Some(("", &[])));
        check("/foo", "/foo/", Some(("", &[])));
        check("/foo", "/foo/bar", None);
        check("/foo", "/foobar", None);
        check("/...", "/", Some(("/", &[])));
        check("/...", "/1/2/3", Some(("/1/2/3", &[])));
        check("/1/...", "/1/2/3", Some(("/2/3", &[])));
        check("/test/...", "/test", Some(("", &[])));
        check("/test/...", "/test/", Some(("/", &[])));
        check("/test/...", "/test/hello/", Some(("/hello/", &[])));
        check("/1/:two/3", "/1/2/3", Some(("", &[("two", "2")])));
        check("/1/:two/...", "/1/2/3", Some(("/3", &[("two", "2")])));
        check("/a/:x/:y", "/a/1/2", Some(("", &[("x", "1"), ("y", "2")])));
        check("/a/:x", "/a", None);
        check("/a//b", "/a/b", None);
    }

    #[test]
    fn the_more_specific_route_wins() {
        let nested = ["/one/...", "/one/two/three/...", "/one/two/...", "/..."];
        assert_eq!(
            best(&nested, "/one/two/three/four"),
            Some("/one/two/three/...")
        );
        assert_eq!(best(&nested, "/one/x"), Some("/one/..."));
        assert_eq!(best(&nested, "/zero"), Some("/..."));
        assert_eq!(best(&["/...", "/one"], "/one"), Some("/one"));
        assert_eq!(best(&["/one/...", "/one"], "/one"), Some("/one"));
        assert_eq!(best(&["/:x", "/one"], "/one"), Some("/one"));
        assert_eq!(best(&["/:x", "/..."], "/one"), Some("/:x"));
        assert_eq!(best(&["/a/:x/c", "/a/b/..."], "/a/b/c"), Some("/a/b/..."));
        assert_eq!(best(&["/one"], "/two"), None);
    }

    #[test]
    fn clashes_are_seen() {
        assert!(pattern("/a/:x").same_paths(&pattern("/a/:y")));
        assert!(pattern("/a/").same_paths(&pattern("/a")));
        assert!(!pattern("/a").same_paths(&pattern("/a/...")));
        assert!(!pattern("/a").same_paths(&pattern("/b")));
    }

    #[test]
    fn bad_routes_are_refused() {
        for bad in ["", "foo", "/.../a", "/*", "/a/:", "/:x/:x", "/:a.b"] {
            assert!(RoutePattern::parse(bad).is_err(), "{bad}");
        }
    }
}
