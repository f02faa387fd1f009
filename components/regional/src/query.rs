//! Query parameters, read strictly: each by its name, and none left over.
//!
//! It stands between a URL's text and a half's typed request. It does not know which parameters
//! there are.

use crate::ApiError;

/// Parameters of one request, at most.
const PARAMETERS_MAX: usize = 200;
/// Bytes of the whole query, at most.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// The parameters that were not read yet, in order.
#[derive(Debug)]
pub struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Takes a query apart (the URL standard's `application/x-www-form-urlencoded`).
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let query = query.unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(ApiError::invalid("query", "The query is too long."));
        }
        let mut parameters = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decoded = decode(name).zip(decode(value));
            parameters.push(decoded.ok_or_else(|| {
                ApiError::invalid("query", "The query is not UTF-8 in percent encoding.")
            })?);
        }
        if parameters.len() > PARAMETERS_MAX {
            return Err(ApiError::invalid(
                "query",
                "The query has too many parameters.",
            ));
        }
        Ok(Self { parameters })
    }

    /// The one value of a parameter.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.take(|parameter| parameter == name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(ApiError::invalid(
                name,
                format!("'{name}' is given more than once."),
            )),
        }
    }

    /// All values of a parameter that may repeat, as `name=a&name=b` or `name[]=a&name[]=b`.
    pub fn many(&mut self, name: &str) -> Vec<String> {
        let brackets = format!("{name}[]");
        self.take(|parameter| parameter == name || parameter == brackets)
    }

    /// A whole number within bounds.
    pub fn number(&mut self, name: &str, min: i64, max: i64) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => {
                let message = format!("'{name}' must be a whole number from {min} to {max}.");
                Err(ApiError::invalid(name, message))
            }
        }
    }

    /// Refuses what was not read, by its name.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.parameters.first() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::unknown_parameter(name)),
        }
    }

    fn take(&mut self, is: impl Fn(&str) -> bool) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.parameters)
            .into_iter()
            .partition(|(name, _)| is(name));
        self.parameters = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                let digit = |digit: u8| char::from(digit).to_digit(16);
                bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
                rest = after;
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_by_name_and_none_is_left_over() {
        let mut query =
            Query::parse(Some("limit=5&ids=a&ids[]=b&ids%5B%5D=c&name=x%20y+z%C3%A9")).unwrap();
        assert_eq!(query.number("limit", 1, 100), Ok(Some(5)));
        assert_eq!(query.many("ids"), ["a", "b", "c"]);
        assert_eq!(query.one("name"), Ok(Some("x y zé".into())));
        assert_eq!(query.one("other"), Ok(None));
        assert_eq!(query.finish(), Ok(()));
        let query = Query::parse(Some("colour=red")).unwrap();
        assert_eq!(query.finish(), Err(ApiError::unknown_parameter("colour")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for query in [
            "limit=0",
            "limit=101",
            "limit=",
            "limit=x",
            "limit=1&limit=2",
            "limit=1.5",
        ] {
            let error = Query::parse(Some(query))
                .unwrap()
                .number("limit", 1, 100)
                .unwrap_err();
            assert_eq!(error.status(), 400, "{query}");
        }
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Query::parse(Some(query)).is_err(), "{query}");
        }
        assert!(Query::parse(Some(&"a&".repeat(201))).is_err());
        assert!(Query::parse(Some(&"a".repeat(QUERY_BYTES_MAX + 1))).is_err());
    }
}
