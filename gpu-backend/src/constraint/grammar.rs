//! The forms that an answer's text can be held to, as grammars for llguidance.
//! Knows nothing of tokens, and nothing of the fields in which a form was asked for.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Map, Value as Json, json};

/// Blanks that may stand between two parts of a JSON value. Bounded: a model that is
/// sampled hot would else write blanks until its tokens run out.
const JSON_BLANKS: &str = r"[\x20\x0A\x0D\x09]{1,40}";
/// The key under which llguidance takes options inside a schema.
pub const OPTIONS_KEY: &str = "x-guidance";

/// What the text of an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// JSON that is valid against a schema.
    JsonSchema(Json),
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
            Self::JsonSchema(schema) => GrammarWithLexer::from_json_schema(with_options(schema)),
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

fn with_options(schema: &Json) -> Json {
    let mut object = match schema {
        Json::Object(object) => object.clone(),
        // `true` allows everything, `false` nothing (JSON Schema core §4.3.2).
        Json::Bool(true) => Map::new(),
        other => return json!({"allOf": [other]}),
    };
    object.insert(
        OPTIONS_KEY.to_owned(),
        json!({"whitespace_pattern": JSON_BLANKS}),
    );
    Json::Object(object)
}

/// The grammar of a whole answer.
pub(super) fn compose(form: &Form) -> TopLevelGrammar {
    TopLevelGrammar::from_grammar(form.grammar("answer"))
}
