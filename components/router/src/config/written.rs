//! The JSON of the variable `backends`. Part of `config`; knows no variable's value.
//!
//! It is read by hand: the errors of a derived reader repeat the value that they did not expect.

use serde_json::{Map, Value};

use super::headers::{self, Headers, Source};
use super::{BACKENDS_MAX, Backend, ConfigError, Offered};
use crate::dialect::Dialect;

/// Characters of a variable's name, at most. A key in its place is mostly longer.
const VARIABLE_NAME_CHARS_MAX: usize = 60;

const KEYS: [&str; 9] = [
    "name",
    "url",
    "models",
    "priority",
    "dialect",
    "api_key_variable",
    "headers",
    "tools",
    "context_window",
];

/// The backends as they are written, each sound by itself.
pub struct Written {
    pub(super) backends: Vec<WrittenBackend>,
}

pub(super) struct WrittenBackend {
    /// Without its headers.
    pub(super) backend: Backend,
    pub(super) headers: Vec<(String, Source)>,
}

impl Written {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |words: String| ConfigError(format!("variable `backends`: {words}"));
        // A syntax error tells its place and no text.
        let list: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let Value::Array(list) = list else {
            return Err(wrong("it must be a list".to_owned()));
        };
        if list.is_empty() || list.len() > BACKENDS_MAX {
            return Err(wrong(format!(
                "{} backends, but there must be 1 to {BACKENDS_MAX}",
                list.len()
            )));
        }
        let mut backends: Vec<WrittenBackend> = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let Value::Object(object) = value else {
                return Err(wrong(format!(
                    "backend {}: it must be an object",
                    index + 1
                )));
            };
            let name = name(index, object)?;
            if backends.iter().any(|other| other.backend.name == name) {
                return Err(wrong(format!("the name `{name}` is given twice")));
            }
            backends.push(backend(name, object)?);
        }
        Ok(Self { backends })
    }

    /// The variables whose values `resolve` needs.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let headers = self.backends.iter().flat_map(|written| &written.headers);
        headers.filter_map(|(_, source)| source.variable())
    }
}

fn name(index: usize, object: &Map<String, Value>) -> Result<String, ConfigError> {
    match object.get("name") {
        Some(Value::String(name)) if !name.is_empty() => Ok(name.clone()),
        _ => Err(ConfigError(format!(
            "variable `backends`: backend {}: `name` is missing, or no text, or empty",
            index + 1
        ))),
    }
}

fn backend(name: String, object: &Map<String, Value>) -> Result<WrittenBackend, ConfigError> {
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let words = format!("unknown key `{key}`; there are `{}`", KEYS.join("`, `"));
        return Err(ConfigError::of(&name, words));
    }
    let fields = Fields {
        backend: &name,
        object,
    };
    let mut headers = Vec::new();
    if let Some(variable) = fields.variable("api_key_variable", object.get("api_key_variable"))? {
        headers.push(("authorization".to_owned(), Source::BearerVariable(variable)));
    }
    fields.headers(&mut headers)?;
    let backend = Backend {
        base_url: fields.base_url()?,
        offered: fields.offered()?,
        priority: fields.number("priority", 0)?.unwrap_or(0),
        dialect: fields.dialect()?,
        headers: Headers::default(),
        tools: fields.tools()?,
        context_window: fields.number("context_window", 1)?,
        name,
    };
    Ok(WrittenBackend { backend, headers })
}

/// The keys of one backend. `null` is as good as left out.
struct Fields<'a> {
    backend: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, words: impl std::fmt::Display) -> ConfigError {
        ConfigError::of(self.backend, words)
    }

    fn number(&self, key: &str, least: u32) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number {
            Some(number) if number >= least => Ok(Some(number)),
            _ => Err(self.wrong(format!(
                "`{key}` must be a whole number from {least} to {}",
                u32::MAX
            ))),
        }
    }

    fn tools(&self) -> Result<Option<bool>, ConfigError> {
        match self.get("tools") {
            None => Ok(None),
            Some(Value::Bool(tools)) => Ok(Some(*tools)),
            Some(_) => Err(self.wrong("`tools` must be true or false")),
        }
    }

    fn dialect(&self) -> Result<Option<Dialect>, ConfigError> {
        let Some(value) = self.get("dialect") else {
            return Ok(None);
        };
        let dialect = value.as_str().and_then(Dialect::named);
        dialect.map(Some).ok_or_else(|| {
            let names = Dialect::ALL.map(Dialect::name).join("`, `");
            self.wrong(format!("`dialect` must be one of `{names}`"))
        })
    }

    /// The name of a variable, as Spin has them.
    fn variable(&self, key: &str, value: Option<&Value>) -> Result<Option<String>, ConfigError> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let is_name = |name: &&str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.len() <= VARIABLE_NAME_CHARS_MAX
                && name.bytes().all(plain)
        };
        match value.as_str().filter(is_name) {
            Some(name) => Ok(Some(name.to_owned())),
            None => Err(self.wrong(format!(
                "`{key}` must be the name of a variable (small letters, digits and `_`), \
                 which holds the secret"
            ))),
        }
    }

    fn headers(&self, headers: &mut Vec<(String, Source)>) -> Result<(), ConfigError> {
        let object = match self.get("headers") {
            None => return Ok(()),
            Some(Value::Object(object)) => object,
            Some(_) => return Err(self.wrong("`headers` must be an object")),
        };
        for (written, value) in object {
            let name = headers::name(self.backend, written)?;
            if headers.iter().any(|(other, _)| *other == name) {
                return Err(self.wrong(format!("`headers`: `{name}` is given twice")));
            }
            let source = match value {
                Value::String(text) if headers::is_value(text) => {
                    Source::Text(text.trim().to_owned())
                }
                Value::Object(object) if object.len() == 1 && object.contains_key("variable") => {
                    let key = format!("headers.{name}.variable");
                    let variable = self.variable(&key, object.get("variable"))?;
                    Source::Variable(variable.ok_or_else(|| self.no_value(&name))?)
                }
                _ => return Err(self.no_value(&name)),
            };
            headers.push((name, source));
        }
        Ok(())
    }

    fn no_value(&self, name: &str) -> ConfigError {
        self.wrong(format!(
            "`headers`: `{name}` must be a text that a header may have, or \
             {{\"variable\": \"NAME\"}}"
        ))
    }

    fn offered(&self) -> Result<Offered, ConfigError> {
        let text = |value: &Value| match value {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            _ => Err(self.wrong("`models` has a name that is no text, or is empty")),
        };
        let offered = match self.get("models") {
            None => return Ok(Offered::All),
            Some(Value::Array(names)) => {
                Offered::Names(names.iter().map(text).collect::<Result<_, _>>()?)
            }
            Some(Value::Object(aliases)) => {
                let pair = |(client, name): (&String, &Value)| {
                    let client = text(&Value::String(client.clone()))?;
                    Ok((client, text(name)?))
                };
                Offered::Aliases(aliases.iter().map(pair).collect::<Result<_, _>>()?)
            }
            Some(_) => {
                let words = "`models` must be a list of names, or an object from a client's \
                             name to the backend's";
                return Err(self.wrong(words));
            }
        };
        match &offered {
            Offered::Names(names) if names.is_empty() => Err(self.no_models()),
            Offered::Aliases(aliases) if aliases.is_empty() => Err(self.no_models()),
            _ => Ok(offered),
        }
    }

    fn no_models(&self) -> ConfigError {
        self.wrong("`models` is empty; leave it out to offer all")
    }

    /// `http://host:port/path` without a slash at the end; the path is `/v1` if there is none.
    fn base_url(&self) -> Result<String, ConfigError> {
        let url = self.get("url").and_then(Value::as_str);
        let url = url.ok_or_else(|| self.wrong("`url` is missing, or no text"))?;
        let parts = url.trim().split_once("://");
        let (scheme, rest) = parts
            .filter(|(scheme, rest)| {
                matches!(*scheme, "http" | "https") && rest.bytes().all(may_stand_in_url)
            })
            .ok_or_else(|| self.no_url())?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_host(host) {
            return Err(self.no_url());
        }
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match path[..] {
            [] => Ok(format!("{scheme}://{host}/v1")),
            [.., "completions" | "models"] => {
                Err(self
                    .wrong("`url` must be the API's base, without /chat/completions or /models"))
            }
            _ => Ok(format!("{scheme}://{host}/{}", path.join("/"))),
        }
    }

    fn no_url(&self) -> ConfigError {
        self.wrong(
            "`url` must be http://HOST:PORT or https://HOST, or that with the path of the API, \
             and no user, query or fragment",
        )
    }
}

/// RFC 3986 §2, without what begins a query, a fragment or ends a user.
fn may_stand_in_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/[]!$&'()*+,;=%".contains(&byte)
}

/// A name or an address, with a port or without.
fn is_host(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && is_port && (is_bracketed || !host.contains(['[', ']', ':']))
}
