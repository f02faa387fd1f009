//! `tools`, `tool_choice` and `parallel_tool_calls`: which functions the model is shown,
//! whether it may or must call one, and whether its arguments are held to their schema.
//! Knows nothing of how a model writes a call.

use serde_json::{Value as Json, json};

use super::super::error::Invalid;
use super::fields::{Fields, invalid};
use super::structured::{can_be_compiled, object};
use crate::constraint::grammar::{Calls, Function, Need};
use crate::tool_parser::ToolFormat;

/// Tools of one request (OpenAI's limit).
const TOOLS_MAX: usize = 128;
/// Bytes of a function's name (OpenAI's limit).
const NAME_BYTES_MAX: usize = 64;

/// What a request says of tools.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// OpenAI's objects, as the template wants them.
    pub(super) shown: Vec<Json>,
    /// Look for calls in the answer.
    pub(super) parse: bool,
    /// Present where functions may be called.
    pub(super) calls: Option<Calls>,
}

/// Which of the tools may be called, and whether one must be.
struct Choice {
    need: Need,
    /// Absent: all.
    names: Option<Vec<String>>,
    /// One function was named: it is called once.
    once: bool,
}

pub(super) fn parse(fields: &mut Fields) -> Result<Tools, Invalid> {
    let shown = fields.list("tools", TOOLS_MAX)?;
    let functions: Vec<Function> = shown
        .iter()
        .enumerate()
        .map(|(i, tool)| function(i, tool))
        .collect::<Result<_, _>>()?;
    let many = fields.bool("parallel_tool_calls")?.unwrap_or(true);
    let Some(choice) = choice(fields, &functions)? else {
        // The tools are then not even shown to the model.
        return Ok(Tools::default());
    };
    if functions.is_empty() {
        return Ok(Tools::default());
    }
    let held = choice.need == Need::Required
        || choice.names.is_some()
        || !many
        || functions.iter().any(|f| f.strict);
    let callable = |f: &Function| {
        choice
            .names
            .as_ref()
            .is_none_or(|names| names.contains(&f.name))
    };
    let need = match choice.need {
        Need::Allowed if !held => Need::Free,
        need => need,
    };
    let functions = functions
        .into_iter()
        .filter(callable)
        .map(|f| Function {
            // Where the model may write what it likes, only strict arguments are held.
            arguments: f
                .arguments
                .filter(|_| f.strict || choice.need == Need::Required),
            ..f
        })
        .collect();
    let calls = Calls {
        // The model's own is put in when the constraint is made.
        format: ToolFormat::Hermes,
        functions,
        need,
        many: many && !choice.once,
    };
    Ok(Tools {
        shown,
        parse: true,
        calls: Some(calls),
    })
}

/// Calls that are held to their schemas end the answer.
pub(super) fn can_end(calls: Option<&Calls>, ignore_eos: bool) -> Result<(), Invalid> {
    match calls {
        Some(calls) if ignore_eos && calls.need != Need::Free => {
            let message = "'ignore_eos' contradicts 'tools' that are held to their schemas.";
            Err(invalid("ignore_eos", message))
        }
        _ => Ok(()),
    }
}

fn function(i: usize, tool: &Json) -> Result<Function, Invalid> {
    let at = |rest: &str| format!("tools[{i}].{rest}");
    if tool.get("type").and_then(Json::as_str) != Some("function") {
        let param = at("type");
        return Err(invalid(
            param.clone(),
            format!("'{param}' must be \"function\"."),
        ));
    }
    let part = |name: &str| {
        let value = tool.get("function").and_then(|f| f.get(name));
        value.filter(|value| !value.is_null())
    };
    let named = |name: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
    };
    let Some(name) = part("name").and_then(Json::as_str).filter(named) else {
        let param = at("function.name");
        let message = format!(
            "'{param}' must be a name of 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, '_' and '-'."
        );
        return Err(invalid(param, message));
    };
    let strict = match part("strict") {
        None => false,
        Some(Json::Bool(strict)) => *strict,
        Some(_) => {
            let param = at("function.strict");
            return Err(invalid(
                param.clone(),
                format!("'{param}' must be true or false."),
            ));
        }
    };
    let field = at("function.parameters");
    let arguments = match part("parameters") {
        // Without a schema a function takes nothing (OpenAI's words).
        None => json!({"type": "object", "properties": {}, "additionalProperties": false}),
        Some(schema) if schema.is_object() => {
            can_be_compiled(schema, &field)?;
            schema.clone()
        }
        Some(_) => {
            let message = format!("'{field}' must be a JSON schema.");
            return Err(invalid(field, message));
        }
    };
    Ok(Function {
        field,
        name: name.to_owned(),
        arguments: Some(arguments),
        strict,
    })
}

/// `None`: no tool may be called.
fn choice(fields: &mut Fields, functions: &[Function]) -> Result<Option<Choice>, Invalid> {
    const NAME: &str = "tool_choice";
    let all = |need| Choice {
        need,
        names: None,
        once: false,
    };
    let choice = match fields.take(NAME) {
        None => all(Need::Allowed),
        Some(Json::String(word)) => match word.as_str() {
            "none" => return Ok(None),
            "auto" => all(Need::Allowed),
            "required" => all(Need::Required),
            _ => return Err(wrong(NAME)),
        },
        Some(value @ Json::Object(_)) => named(value, functions)?,
        Some(_) => return Err(wrong(NAME)),
    };
    if functions.is_empty() && choice.need == Need::Required {
        let message = format!("'{NAME}' is only allowed when 'tools' are given.");
        return Err(invalid(NAME, message));
    }
    Ok(Some(choice))
}

fn wrong(name: &str) -> Invalid {
    let message =
        format!("'{name}' must be \"none\", \"auto\", \"required\", a function, or allowed tools.");
    invalid(name, message)
}

/// One function, or a set of allowed ones.
fn named(value: Json, functions: &[Function]) -> Result<Choice, Invalid> {
    const NAME: &str = "tool_choice";
    let known = |tool: &Json, path: &str| {
        let name = tool.get("function").and_then(|f| f.get("name"));
        let name = name.and_then(Json::as_str).unwrap_or_default();
        let kind = tool.get("type").and_then(Json::as_str);
        let found = functions.iter().any(|f| f.name == name);
        if kind == Some("function") && found {
            return Ok(name.to_owned());
        }
        let param = format!("{path}.function.name");
        Err(invalid(
            param.clone(),
            format!("'{param}' must name one of the tools."),
        ))
    };
    match value.get("type").and_then(Json::as_str) {
        Some("function") => Ok(Choice {
            need: Need::Required,
            names: Some(vec![known(&value, NAME)?]),
            once: true,
        }),
        Some("allowed_tools") => {
            let path = format!("{NAME}.allowed_tools");
            let inner = value.get("allowed_tools").cloned().unwrap_or_default();
            let mut inner = Fields::inside(&path, object(&path, inner)?);
            let need = match inner.string("mode")?.as_deref() {
                Some("auto") => Need::Allowed,
                Some("required") => Need::Required,
                _ => {
                    let param = format!("{path}.mode");
                    let message = format!("'{param}' must be \"auto\" or \"required\".");
                    return Err(invalid(param, message));
                }
            };
            let tools = inner.list("tools", TOOLS_MAX)?;
            inner.finish()?;
            let path = format!("{path}.tools");
            if tools.is_empty() {
                return Err(invalid(path.clone(), format!("'{path}' must hold a tool.")));
            }
            let one = |(i, tool): (usize, &Json)| known(tool, &format!("{path}[{i}]"));
            let names = tools
                .iter()
                .enumerate()
                .map(one)
                .collect::<Result<_, _>>()?;
            Ok(Choice {
                need,
                names: Some(names),
                once: false,
            })
        }
        _ => Err(wrong(NAME)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tools `f` (strict) and `g`.
    fn with(extra: Json) -> Result<Tools, Invalid> {
        let tool = |name: &str, strict: bool| {
            let parameters = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
            json!({"type": "function",
                "function": {"name": name, "strict": strict, "parameters": parameters}})
        };
        let mut body = json!({"tools": [tool("f", true), tool("g", false)]});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        let Json::Object(body) = body else { panic!() };
        let mut fields = Fields::new(body);
        let tools = parse(&mut fields)?;
        fields.finish()?;
        Ok(tools)
    }

    /// The names that may be called, those with a schema marked.
    fn names(tools: &Tools) -> Vec<String> {
        let functions = &tools.calls.as_ref().unwrap().functions;
        let name = |f: &Function| match f.arguments {
            Some(_) => format!("{}!", f.name),
            None => f.name.clone(),
        };
        functions.iter().map(name).collect()
    }

    fn function(name: &str) -> Json {
        json!({"type": "function", "function": {"name": name}})
    }

    #[test]
    fn each_choice_says_what_may_be_called() {
        let auto = with(json!({})).unwrap();
        assert!(auto.parse && auto.shown.len() == 2);
        assert_eq!(names(&auto), ["f!", "g"], "only the strict one is held");
        assert_eq!(auto.calls.as_ref().unwrap().need, Need::Allowed);

        let none = with(json!({"tool_choice": "none"})).unwrap();
        assert!(!none.parse && none.shown.is_empty() && none.calls.is_none());

        let required = with(json!({"tool_choice": "required"})).unwrap();
        assert_eq!(names(&required), ["f!", "g!"]);
        let calls = required.calls.unwrap();
        assert_eq!((calls.need, calls.many), (Need::Required, true));

        let one = with(json!({"tool_choice": function("g")})).unwrap();
        assert_eq!((names(&one), one.shown.len()), (vec!["g!".to_owned()], 2));
        assert!(!one.calls.unwrap().many);

        let allowed = json!({"type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [function("g")]}});
        let allowed = with(json!({"tool_choice": allowed})).unwrap();
        assert_eq!(names(&allowed), ["g"]);
        assert!(
            !with(json!({"parallel_tool_calls": false}))
                .unwrap()
                .calls
                .unwrap()
                .many
        );

        let loose = json!([function("h")]);
        let loose = with(json!({"tools": loose})).unwrap();
        assert!(loose.parse);
        assert_eq!(names(&loose), ["h"]);
        assert_eq!(
            loose.calls.unwrap().need,
            Need::Free,
            "nothing to hold it to"
        );
    }

    #[test]
    fn malformed_choices_are_refused_by_name() {
        let allowed =
            |inner: Json| json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": inner}});
        for (extra, param) in [
            (json!({"tool_choice": "any"}), "tool_choice"),
            (json!({"tool_choice": 3}), "tool_choice"),
            (json!({"tool_choice": {"type": "custom"}}), "tool_choice"),
            (
                json!({"tools": [], "tool_choice": "required"}),
                "tool_choice",
            ),
            (
                json!({"tool_choice": function("x")}),
                "tool_choice.function.name",
            ),
            (allowed(json!(3)), "tool_choice.allowed_tools"),
            (
                allowed(json!({"mode": "all"})),
                "tool_choice.allowed_tools.mode",
            ),
            (
                allowed(json!({"mode": "auto"})),
                "tool_choice.allowed_tools.tools",
            ),
            (
                allowed(json!({"mode": "auto", "tools": [function("x")]})),
                "tool_choice.allowed_tools.tools[0].function.name",
            ),
            (
                allowed(json!({"mode": "auto", "x": 1})),
                "tool_choice.allowed_tools.x",
            ),
            (json!({"parallel_tool_calls": 1}), "parallel_tool_calls"),
            (
                json!({"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]}),
                "tools[0].function.strict",
            ),
            (
                json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": 1}}]}),
                "tools[0].function.parameters",
            ),
        ] {
            let invalid = with(extra.clone()).unwrap_err();
            assert_eq!(invalid.param.as_deref(), Some(param), "{extra}");
        }
    }
}
