//! What an answer can be held to, as a grammar for llguidance: a form of its text, tool
//! calls in the model's own format, reasoning before either.
//! Knows nothing of tokens but the ids of special ones, and nothing of the fields in
//! which a form was asked for.

mod calls;

pub(super) use calls::expressible;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Map, Value as Json, json};

use crate::reasoning::{ReasoningFormat, Thinking};
use crate::tool_parser::ToolFormat;

/// Separators of two members, and of a name and its value, as regular expressions: one
/// blank at most, and none anywhere else. With more, a model that is sampled hot writes blanks
/// until its tokens run out.
const JSON_SEPARATORS: [&str; 2] = [", ?", ": ?"];
/// The key under which llguidance takes options inside a schema.
pub const OPTIONS_KEY: &str = "x-guidance";

/// What the text of an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// JSON that is valid against a schema; a schema that cannot be held to is refused.
    JsonSchema(Json),
    /// JSON that is valid against as much of a schema as can be held to.
    BestEffort(Json),
    /// A whole match of a regular expression (the syntax of Rust's `regex`).
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A grammar in Lark's notation, with llguidance's extensions.
    Lark(String),
}

impl Form {
    /// Any JSON object.
    pub fn json_object() -> Self {
        Self::JsonSchema(json!({"type": "object"}))
    }

    fn grammar(&self, name: &str) -> GrammarWithLexer {
        let grammar = match self {
            Self::JsonSchema(schema) => {
                GrammarWithLexer::from_json_schema(with_options(schema, false))
            }
            Self::BestEffort(schema) => {
                GrammarWithLexer::from_json_schema(with_options(schema, true))
            }
            Self::Regex(regex) => GrammarWithLexer::from_regex(regex),
            Self::Choice(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
                GrammarWithLexer::from_lark(format!("start: {}", texts.join(" | ")))
            }
            Self::Lark(grammar) => GrammarWithLexer::from_lark(grammar.clone()),
        };
        GrammarWithLexer {
            name: Some(name.to_owned()),
            ..grammar
        }
    }
}

/// A text as Lark writes it: JSON's escapes are Lark's.
fn literal(text: &str) -> String {
    Json::from(text).to_string()
}

/// `lenient` has the compiler pass over the keywords that it does not know.
fn with_options(schema: &Json, lenient: bool) -> Json {
    let mut object = match schema {
        Json::Object(object) => object.clone(),
        // `true` allows everything, `false` nothing (JSON Schema core §4.3.2).
        Json::Bool(true) => Map::new(),
        other => return json!({"allOf": [other]}),
    };
    let [item, key] = JSON_SEPARATORS;
    let options = json!({
        "item_separator": item,
        "key_separator": key,
        "whitespace_flexible": false,
        "lenient": lenient,
    });
    object.insert(OPTIONS_KEY.to_owned(), options);
    Json::Object(object)
}

/// Everything that one answer is held to.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub form: Option<Form>,
    pub calls: Option<Calls>,
    /// Reasoning that may or must come first.
    pub reasoning: Option<(ReasoningFormat, Thinking)>,
}

impl From<Form> for Target {
    fn from(form: Form) -> Self {
        Self {
            form: Some(form),
            calls: None,
            reasoning: None,
        }
    }
}

/// The tool calls of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    pub format: ToolFormat,
    /// At least one.
    pub functions: Vec<Function>,
    pub need: Need,
    /// More than one call in an answer.
    pub many: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The model writes what it likes; calls are only looked for. Beside a form it may
    /// call instead of answering.
    Free,
    /// The model decides whether it calls; a call is held to its schema.
    Allowed,
    /// The answer is a call.
    Required,
}

/// A function that may be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The field of the schema.
    pub field: String,
    pub name: String,
    /// The schema of the arguments; absent: any object.
    pub arguments: Option<Json>,
    /// A schema that cannot be held to is refused; else as much of it counts as can be.
    pub strict: bool,
}

impl Function {
    /// A schema of the arguments, or of one of them, as a form.
    pub(super) fn form(&self, schema: Json) -> Form {
        match self.strict {
            true => Form::JsonSchema(schema),
            false => Form::BestEffort(schema),
        }
    }
}

/// A grammar that grows rule by rule, and its sub-grammars.
struct Lark<'a> {
    rules: Vec<String>,
    subs: Vec<GrammarWithLexer>,
    /// The id of a special token.
    special: &'a dyn Fn(&str) -> Option<u32>,
}

impl Lark<'_> {
    fn rule(&mut self, name: &str, body: &str) {
        self.rules.push(format!("{name}: {body}"));
    }

    /// A reference to a grammar of its own.
    fn sub(&mut self, name: &str, form: &Form) -> String {
        if !self
            .subs
            .iter()
            .any(|sub| sub.name.as_deref() == Some(name))
        {
            self.subs.push(form.grammar(name));
        }
        format!("@{name}")
    }

    /// The special token, if this text is one.
    fn special(&self, text: &str) -> Option<String> {
        (self.special)(text).map(|id| format!("<[{id}]>"))
    }

    /// A text that is a special token of some vocabularies.
    fn marker(&self, text: &str) -> String {
        self.special(text).unwrap_or_else(|| literal(text))
    }

    /// A rule for reasoning up to its closing tag.
    fn reasoning(&mut self, format: ReasoningFormat) {
        let [_, close] = format.markers();
        match self.special(close) {
            Some(token) => self.rule("reasoning", &format!(r"/(.|\n)*/ {token}")),
            None => {
                let regex = close
                    .replace('/', r"\/")
                    .replace('[', r"\[")
                    .replace(']', r"\]");
                self.rule("reasoning[lazy]", &format!(r"/(.|\n)*{regex}/"));
            }
        }
        self.rule("GAP", r"/\n{1,4}/");
    }
}

/// The grammar of a whole answer. `special` tells the ids of special tokens.
pub(super) fn compose(target: &Target, special: &dyn Fn(&str) -> Option<u32>) -> TopLevelGrammar {
    let mut lark = Lark {
        rules: Vec::new(),
        subs: Vec::new(),
        special,
    };
    let form = target.form.as_ref().map(|form| lark.sub("answer", form));
    let body = match (&target.calls, form) {
        (Some(calls), form) => calls.write(&mut lark, form.as_deref()),
        (None, Some(form)) => form,
        (None, None) => r"/(.|\n)*/".to_owned(),
    };
    lark.rule("body", &body);
    let start = match target.reasoning {
        None | Some((_, Thinking::Closed)) => "body".to_owned(),
        Some((format, Thinking::Open)) => {
            lark.reasoning(format);
            "reasoning GAP? body".to_owned()
        }
        Some((format, Thinking::Possible)) => {
            lark.reasoning(format);
            let open = lark.marker(format.markers()[0]);
            format!("body | {open} reasoning GAP? body")
        }
    };
    lark.rule("start", &start);
    let main = GrammarWithLexer {
        name: Some("main".to_owned()),
        ..GrammarWithLexer::from_lark(lark.rules.join("\n"))
    };
    TopLevelGrammar {
        grammars: std::iter::once(main).chain(lark.subs).collect(),
        max_tokens: None,
    }
}
