//! The fields that say what an answer's text must be: OpenAI's `response_format`,
//! vLLM's `structured_outputs` and its older `guided_*`.
//! Knows nothing of how a form is enforced.

use serde_json::{Map, Value as Json};

use super::super::error::Invalid;
use super::fields::{Fields, invalid, unsupported};
use crate::chat::options::AskedForm;
use crate::constraint::grammar::{Form, OPTIONS_KEY};

/// Bytes of one schema, regular expression or grammar.
const FORM_BYTES_MAX: usize = 256 << 10;
/// Texts of one choice.
const CHOICES_MAX: usize = 1024;
/// Characters of a schema's name (OpenAI's limit).
const NAME_CHARS_MAX: usize = 64;

/// The form that the answer's text must have; at most one field may ask for it.
pub(super) fn form(fields: &mut Fields) -> Result<Option<AskedForm>, Invalid> {
    let mut asked = Vec::new();
    asked.extend(response_format(fields)?);
    asked.extend(structured_outputs(fields)?);
    for name in ["json", "regex", "choice", "grammar"] {
        let field = format!("guided_{name}");
        if let Some(value) = fields.take(&field) {
            asked.push(one(name, value, field)?);
        }
    }
    let mut asked = asked.into_iter();
    match (asked.next(), asked.next()) {
        (Some(first), Some(second)) => {
            let message = format!(
                "'{}' and '{}' contradict each other: an answer has one form.",
                first.field, second.field
            );
            Err(invalid(second.field, message))
        }
        (first, _) => Ok(first),
    }
}

/// An answer that is held to a form ends where the form ends.
pub(super) fn can_end(form: Option<&AskedForm>, ignore_eos: bool) -> Result<(), Invalid> {
    match form {
        Some(asked) if ignore_eos => {
            let message = format!(
                "'ignore_eos' contradicts '{}': the answer ends where its form ends.",
                asked.field
            );
            Err(invalid("ignore_eos", message))
        }
        _ => Ok(()),
    }
}

fn response_format(fields: &mut Fields) -> Result<Option<AskedForm>, Invalid> {
    const NAME: &str = "response_format";
    let Some(value) = fields.take(NAME) else {
        return Ok(None);
    };
    let mut format = Fields::inside(NAME, object(NAME, value)?);
    let form = match format.string("type")?.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(AskedForm {
            field: NAME.to_owned(),
            form: Form::json_object(),
        }),
        Some("json_schema") => Some(json_schema(&mut format)?),
        _ => {
            let param = format!("{NAME}.type");
            let message =
                format!("'{param}' must be \"text\", \"json_object\" or \"json_schema\".");
            return Err(invalid(param, message));
        }
    };
    format.finish()?;
    Ok(form)
}

/// OpenAI's wrapper: a name, a description, and the schema. With `strict` a schema that
/// cannot be held to is refused; without, the answer follows as much of it as can be.
fn json_schema(format: &mut Fields) -> Result<AskedForm, Invalid> {
    const NAME: &str = "response_format.json_schema";
    let Some(value) = format.take("json_schema") else {
        return Err(invalid(NAME, format!("'{NAME}' is required.")));
    };
    let mut wrapper = Fields::inside(NAME, object(NAME, value)?);
    let name = wrapper.string("name")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let good =
        |n: &String| !n.is_empty() && n.chars().count() <= NAME_CHARS_MAX && n.chars().all(plain);
    if !name.as_ref().is_some_and(good) {
        let param = format!("{NAME}.name");
        let message = format!(
            "'{param}' must be 1 to {NAME_CHARS_MAX} letters, digits, underscores or dashes."
        );
        return Err(invalid(param, message));
    }
    wrapper.string("description")?;
    let strict = wrapper.bool("strict")?.unwrap_or(false);
    let field = format!("{NAME}.schema");
    let schema = match wrapper.take("schema") {
        Some(schema) => schema_of(schema, &field)?,
        None => Json::Bool(true),
    };
    let form = match strict {
        true => Form::JsonSchema(schema),
        false => Form::BestEffort(schema),
    };
    wrapper.finish()?;
    Ok(AskedForm { field, form })
}

fn structured_outputs(fields: &mut Fields) -> Result<Option<AskedForm>, Invalid> {
    const NAME: &str = "structured_outputs";
    let Some(value) = fields.take(NAME) else {
        return Ok(None);
    };
    let mut inner = Fields::inside(NAME, object(NAME, value)?);
    let mut asked = Vec::new();
    for name in ["json", "regex", "choice", "grammar", "json_object"] {
        if let Some(value) = inner.take(name) {
            asked.push(one(name, value, format!("{NAME}.{name}"))?);
        }
    }
    inner.finish()?;
    if asked.len() != 1 {
        let message = format!(
            "'{NAME}' must hold exactly one of 'json', 'regex', 'choice', 'grammar' and \
             'json_object'."
        );
        return Err(invalid(NAME, message));
    }
    Ok(asked.pop())
}

/// One of vLLM's forms by its short name.
fn one(name: &str, value: Json, field: String) -> Result<AskedForm, Invalid> {
    let form = match name {
        "json" => Form::BestEffort(schema_of(value, &field)?),
        "regex" => Form::Regex(text(value, &field)?),
        "grammar" => Form::Lark(text(value, &field)?),
        "choice" => Form::Choice(choice(value, &field)?),
        _ => match value {
            Json::Bool(true) => Form::json_object(),
            _ => return Err(invalid(field.clone(), format!("'{field}' must be true."))),
        },
    };
    Ok(AskedForm { field, form })
}

/// A schema, as JSON or (under vLLM) as a text of JSON.
fn schema_of(value: Json, field: &str) -> Result<Json, Invalid> {
    let schema = match value {
        Json::String(text) => serde_json::from_str(&text)
            .map_err(|error| invalid(field, format!("'{field}' is not valid JSON: {error}")))?,
        value => value,
    };
    if !schema.is_object() && !schema.is_boolean() {
        return Err(invalid(field, format!("'{field}' must be a JSON schema.")));
    }
    can_be_compiled(&schema, field)?;
    Ok(schema)
}

/// Refuses a schema that is too large, or that speaks to the compiler itself.
pub(super) fn can_be_compiled(schema: &Json, field: &str) -> Result<(), Invalid> {
    if schema.get(OPTIONS_KEY).is_some() {
        let param = format!("{field}.{OPTIONS_KEY}");
        let message = format!("'{param}' is not supported.");
        return Err(unsupported(&param, message));
    }
    bounded(schema.to_string().len(), field)
}

fn choice(value: Json, field: &str) -> Result<Vec<String>, Invalid> {
    let must = || {
        let message = format!("'{field}' must be a list of 1 to {CHOICES_MAX} texts.");
        invalid(field, message)
    };
    let Json::Array(list) = value else {
        return Err(must());
    };
    if list.is_empty() || list.len() > CHOICES_MAX {
        return Err(must());
    }
    let one = |choice: Json| match choice {
        Json::String(text) if !text.is_empty() => Ok(text),
        _ => Err(must()),
    };
    let texts: Vec<String> = list.into_iter().map(one).collect::<Result<_, _>>()?;
    bounded(texts.iter().map(String::len).sum(), field)?;
    Ok(texts)
}

fn text(value: Json, field: &str) -> Result<String, Invalid> {
    match value {
        Json::String(text) if !text.is_empty() => {
            bounded(text.len(), field)?;
            Ok(text)
        }
        _ => Err(invalid(field, format!("'{field}' must be a text."))),
    }
}

fn bounded(bytes: usize, field: &str) -> Result<(), Invalid> {
    if bytes <= FORM_BYTES_MAX {
        return Ok(());
    }
    let message = format!("'{field}' is larger than {FORM_BYTES_MAX} bytes.");
    Err(invalid(field, message))
}

pub(super) fn object(name: &str, value: Json) -> Result<Map<String, Json>, Invalid> {
    match value {
        Json::Object(object) => Ok(object),
        _ => Err(invalid(name, format!("'{name}' must be an object."))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: Json) -> Result<Option<AskedForm>, Invalid> {
        let Json::Object(body) = body else { panic!() };
        let mut fields = Fields::new(body);
        let form = form(&mut fields)?;
        fields.finish()?;
        Ok(form)
    }

    #[track_caller]
    fn asks(body: Json, field: &str, form: Form) {
        let field = field.to_owned();
        assert_eq!(parse(body).unwrap(), Some(AskedForm { field, form }));
    }

    #[track_caller]
    fn refused(body: Json, param: &str) {
        let invalid = parse(body).unwrap_err();
        assert_eq!(invalid.param.as_deref(), Some(param), "{invalid:?}");
    }

    #[test]
    fn every_form_arrives_from_the_field_that_asks_for_it() {
        assert_eq!(
            parse(json!({"response_format": {"type": "text"}})).unwrap(),
            None
        );
        asks(
            json!({"response_format": {"type": "json_object"}}),
            "response_format",
            Form::json_object(),
        );
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let wrapped = |strict: Json| json!({"name": "answer", "description": "d", "strict": strict, "schema": schema});
        for (strict, form) in [
            (json!(true), Form::JsonSchema(schema.clone())),
            (json!(false), Form::BestEffort(schema.clone())),
            (Json::Null, Form::BestEffort(schema.clone())),
        ] {
            asks(
                json!({"response_format": {"type": "json_schema", "json_schema": wrapped(strict)}}),
                "response_format.json_schema.schema",
                form,
            );
        }
        for (name, value, form) in [
            ("json", schema.clone(), Form::BestEffort(schema.clone())),
            (
                "json",
                json!(schema.to_string()),
                Form::BestEffort(schema.clone()),
            ),
            ("regex", json!("[a-z]+"), Form::Regex("[a-z]+".into())),
            (
                "choice",
                json!(["a", "b"]),
                Form::Choice(vec!["a".into(), "b".into()]),
            ),
            (
                "grammar",
                json!("start: \"a\""),
                Form::Lark("start: \"a\"".into()),
            ),
        ] {
            asks(
                json!({format!("guided_{name}"): value}),
                &format!("guided_{name}"),
                form.clone(),
            );
            asks(
                json!({"structured_outputs": {name: value}}),
                &format!("structured_outputs.{name}"),
                form,
            );
        }
        asks(
            json!({"structured_outputs": {"json_object": true}}),
            "structured_outputs.json_object",
            Form::json_object(),
        );
    }

    #[test]
    fn malformed_forms_are_refused_by_name() {
        refused(json!({"response_format": "json"}), "response_format");
        refused(
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
        );
        refused(
            json!({"response_format": {"type": "json_object", "x": 1}}),
            "response_format.x",
        );
        let schema = "response_format.json_schema";
        let wrapped = |wrapper: Json| json!({"response_format": {"type": "json_schema", "json_schema": wrapper}});
        refused(json!({"response_format": {"type": "json_schema"}}), schema);
        refused(wrapped(json!({"schema": {}})), &format!("{schema}.name"));
        refused(
            wrapped(json!({"name": "a b", "schema": {}})),
            &format!("{schema}.name"),
        );
        refused(
            wrapped(json!({"name": "a", "schema": 3})),
            &format!("{schema}.schema"),
        );
        refused(
            wrapped(json!({"name": "a", "schema": {"x-guidance": {"lenient": true}}})),
            &format!("{schema}.schema.x-guidance"),
        );
        refused(
            wrapped(json!({"name": "a", "strict": "yes"})),
            &format!("{schema}.strict"),
        );
        refused(json!({"structured_outputs": {}}), "structured_outputs");
        refused(
            json!({"structured_outputs": {"regex": "a", "choice": ["b"]}}),
            "structured_outputs",
        );
        refused(
            json!({"structured_outputs": {"regex": "a", "structural_tag": "b"}}),
            "structured_outputs.structural_tag",
        );
        refused(json!({"guided_json": "{"}), "guided_json");
        refused(json!({"guided_choice": []}), "guided_choice");
        refused(json!({"guided_regex": 3}), "guided_regex");
        refused(
            json!({"guided_grammar": "a".repeat(FORM_BYTES_MAX + 1)}),
            "guided_grammar",
        );
        refused(
            json!({"guided_decoding_backend": "x"}),
            "guided_decoding_backend",
        );
        refused(
            json!({"response_format": {"type": "json_object"}, "guided_regex": "a"}),
            "guided_regex",
        );
    }
}
