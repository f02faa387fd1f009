//! Tool calls as a grammar: in the model's own format, with arguments that are valid
//! against their functions' schemas, alone or where the model decides to call.
//! Knows nothing of tokens but the ids of special ones.

use serde_json::{Map, Value as Json};

use super::{Calls, Form, Function, Lark, Need, literal};
use crate::tool_parser::ToolFormat;

/// What a function's arguments become in the pythonic formats.
const KEYWORD: &str = "/[A-Za-z_][A-Za-z0-9_]{0,60}/";

impl Calls {
    /// Adds rules to the grammar; returns the expression that an answer must match.
    /// `else_form` is the rule of the answer's text where no call is made.
    pub(super) fn write(&self, lark: &mut Lark, else_form: Option<&str>) -> String {
        let call = self.one_of(lark);
        let list = self.list(&call, lark);
        lark.rule("calls", &list);
        match (self.need, else_form) {
            (Need::Required, _) => "calls".to_owned(),
            (Need::Free | Need::Allowed, Some(form)) => format!("calls | {form}"),
            (Need::Free | Need::Allowed, None) => self.among_text(&call, lark),
        }
    }

    /// A rule for a call of any of the functions.
    fn one_of(&self, lark: &mut Lark) -> String {
        let mut names = Vec::new();
        for (i, function) in self.functions.iter().enumerate() {
            let rule = format!("call_{i}");
            let body = match self.format {
                ToolFormat::Hermes => object(function, "arguments", i, lark),
                ToolFormat::Llama3Json => bare_object(function, "parameters", i, lark),
                ToolFormat::Pythonic | ToolFormat::Gemma => python(function, i, lark),
                ToolFormat::Mistral => match lark.special("[ARGS]") {
                    Some(args) => {
                        let value = arguments(function, i, lark);
                        format!("{} {args} {value}", literal(&function.name))
                    }
                    None => object(function, "arguments", i, lark),
                },
            };
            lark.rule(&rule, &body);
            names.push(rule);
        }
        lark.rule("call", &names.join(" | "));
        "call".to_owned()
    }

    /// The whole of one answer's calls.
    fn list(&self, call: &str, lark: &mut Lark) -> String {
        let more = |between: &str| match self.many {
            true => format!("({} {call})*", literal(between)),
            false => String::new(),
        };
        match self.format {
            ToolFormat::Hermes => {
                let (open, close) = (lark.marker("<tool_call>"), lark.marker("</tool_call>"));
                let tagged = format!("{open} \"\\n\" {call} \"\\n\" {close}");
                lark.rule("tagged", &tagged);
                match self.many {
                    true => "tagged (\"\\n\" tagged)*".to_owned(),
                    false => "tagged".to_owned(),
                }
            }
            ToolFormat::Llama3Json => format!("{call} {}", more("; ")),
            ToolFormat::Pythonic => format!("\"[\" {call} {} \"]\"", more(", ")),
            ToolFormat::Gemma => {
                format!("\"```tool_code\\n\" {call} {} \"\\n```\"", more("\n"))
            }
            ToolFormat::Mistral => {
                let open = lark.marker("[TOOL_CALLS]");
                match (lark.special("[ARGS]"), self.many) {
                    (Some(_), true) => format!("({open} {call})+"),
                    (Some(_), false) => format!("{open} {call}"),
                    (None, _) => format!("{open} \"[\" {call} {} \"]\"", more(", ")),
                }
            }
        }
    }

    /// Text in which calls may stand; once one has begun it is held to its schema.
    fn among_text(&self, call: &str, lark: &mut Lark) -> String {
        let (trigger, rest) = match self.format {
            ToolFormat::Hermes => {
                let close = lark.marker("</tool_call>");
                ("<tool_call>", format!("\"\\n\" {call} \"\\n\" {close}"))
            }
            ToolFormat::Mistral => {
                let rest = match lark.special("[ARGS]") {
                    Some(_) => call.to_owned(),
                    None => format!("\"[\" {call} (\", \" {call})* \"]\""),
                };
                ("[TOOL_CALLS]", rest)
            }
            ToolFormat::Gemma => (
                "```tool_code",
                format!("\"\\n\" {call} (\"\\n\" {call})* \"\\n```\""),
            ),
            // The whole answer is the calls, or none of it is.
            ToolFormat::Llama3Json | ToolFormat::Pythonic => {
                let first = match self.format {
                    ToolFormat::Pythonic => r"[^\[\s]",
                    _ => r"[^{\s]",
                };
                lark.rule("PLAIN", &format!("/{first}(.|\\n)*/"));
                return "calls | PLAIN?".to_owned();
            }
        };
        self.triggered(trigger, &rest, lark)
    }

    fn triggered(&self, trigger: &str, rest: &str, lark: &mut Lark) -> String {
        lark.rule("ANY", r"/(.|\n)+/");
        if let Some(token) = lark.special(trigger) {
            // Text never matches a special token, so it ends where the token stands.
            lark.rule("called", &format!("ANY? {token} {rest}"));
            lark.rule("plain", "ANY");
        } else {
            let regex = trigger.replace('`', r"\x60").replace('/', r"\/");
            let regex = regex.replace('[', r"\[").replace(']', r"\]");
            lark.rule("before[lazy]", &format!(r"/(.|\n)*{regex}/"));
            lark.rule("called", &format!("before {rest}"));
            lark.rule("PLAIN", &format!(r"/(.|\n)+/ & ~/(.|\n)*{regex}(.|\n)*/"));
            lark.rule("plain", "PLAIN");
        }
        match self.many {
            true => "called* plain?".to_owned(),
            false => "called | plain?".to_owned(),
        }
    }
}

/// `{"name": …, KEY: arguments}`.
fn object(function: &Function, key: &str, i: usize, lark: &mut Lark) -> String {
    let head = format!(
        "{{\"name\": {}, \"{key}\": ",
        Json::from(function.name.as_str())
    );
    let value = arguments(function, i, lark);
    format!("{} {value} \"}}\"", literal(&head))
}

/// The same as the parts that JSON has: a text of JSON may stand in its place, and one
/// literal from its first brace on would swallow that text's own.
fn bare_object(function: &Function, key: &str, i: usize, lark: &mut Lark) -> String {
    let word = |text: &str| literal(&Json::from(text).to_string());
    let (name, key) = (word(&function.name), word(key));
    let value = arguments(function, i, lark);
    format!(
        "\"{{\" {} /: ?/ {name} /, ?/ {key} /: ?/ {value} \"}}\"",
        word("name")
    )
}

/// A reference to the grammar of a function's arguments.
fn arguments(function: &Function, i: usize, lark: &mut Lark) -> String {
    let form = match &function.arguments {
        Some(schema) => function.form(schema.clone()),
        None => Form::json_object(),
    };
    lark.sub(&format!("arguments_{i}"), &form)
}

/// `name(key=value, …)`: the keys in the order of the schema's properties.
fn python(function: &Function, i: usize, lark: &mut Lark) -> String {
    let Some(properties) = function.arguments.as_ref().and_then(python_arguments) else {
        let any = lark.sub("any", &Form::JsonSchema(Json::Bool(true)));
        let one = format!("{KEYWORD} \"=\" {any}");
        let all = format!("({one} (\", \" {one})*)?");
        return format!("{} {all} \")\"", literal(&format!("{}(", function.name)));
    };
    // From the last: what may follow with and without a comma before it.
    let (first, rest) = (|k| format!("first_{i}_{k}"), |k| format!("rest_{i}_{k}"));
    let count = properties.len();
    lark.rule(&first(count), "\"\"");
    lark.rule(&rest(count), "\"\"");
    for (k, property) in properties.into_iter().enumerate().rev() {
        let value = lark.sub(&format!("value_{i}_{k}"), &function.form(property.schema));
        let one = format!("{} {value}", literal(&format!("{}=", property.name)));
        let (next_first, next_rest) = (first(k + 1), rest(k + 1));
        let (optional, or_next) = match property.required {
            true => (format!("\", \" {one}"), String::new()),
            false => (format!("(\", \" {one})?"), format!(" | {next_first}")),
        };
        lark.rule(&first(k), &format!("{one} {next_rest}{or_next}"));
        lark.rule(&rest(k), &format!("{optional} {next_rest}"));
    }
    let head = literal(&format!("{}(", function.name));
    format!("{head} {} \")\"", first(0))
}

struct Property {
    name: String,
    schema: Json,
    required: bool,
}

/// The properties of a schema that says nothing else of its object.
fn python_arguments(schema: &Json) -> Option<Vec<Property>> {
    const KNOWN: [&str; 9] = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "description",
        "title",
        "$schema",
        "$defs",
        "definitions",
    ];
    let schema = schema.as_object()?;
    if !schema.keys().all(|key| KNOWN.contains(&key.as_str())) {
        return None;
    }
    if schema.get("type").is_some_and(|kind| kind != "object") {
        return None;
    }
    let empty = Map::new();
    let properties = match schema.get("properties") {
        Some(properties) => properties.as_object()?,
        None => &empty,
    };
    let required: Vec<&str> = match schema.get("required") {
        Some(list) => list.as_array()?.iter().filter_map(Json::as_str).collect(),
        None => Vec::new(),
    };
    if !required.iter().all(|name| properties.contains_key(*name)) {
        return None;
    }
    let one = |(name, property): (&String, &Json)| {
        let mut inner = match property {
            Json::Object(inner) => inner.clone(),
            Json::Bool(true) => Map::new(),
            _ => return None,
        };
        for definitions in ["$defs", "definitions"] {
            if let Some(shared) = schema.get(definitions) {
                inner.insert(definitions.to_owned(), shared.clone());
            }
        }
        is_keyword(name).then(|| Property {
            name: name.clone(),
            schema: Json::Object(inner),
            required: required.contains(&name.as_str()),
        })
    };
    properties.iter().map(one).collect()
}

fn is_keyword(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a schema of arguments can be held to in this format.
pub(in crate::constraint) fn expressible(format: ToolFormat, schema: &Json) -> bool {
    match format {
        ToolFormat::Pythonic | ToolFormat::Gemma => python_arguments(schema).is_some(),
        ToolFormat::Hermes | ToolFormat::Llama3Json | ToolFormat::Mistral => true,
    }
}
