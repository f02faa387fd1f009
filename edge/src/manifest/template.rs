//! Templates in the manifest: text with `{{ variable }}` in it.
//!
//! It knows how a template is written and filled in; it does NOT know where a variable's
//! value comes from.

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

/// As it is written in a manifest.
impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "{{{{ {name} }}}}"),
        })
    }
}

/// Why a text is no template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// `{{` without its `}}`.
    #[error("the template {0:?} opens a variable with {{{{ and never closes it")]
    Unclosed(String),
    /// The name between the braces is not one.
    #[error("{0:?} is not a variable name: lower-case letters, digits and single underscores")]
    BadName(String),
}

impl Template {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            if start > 0 {
                parts.push(Part::Literal(rest[..start].to_owned()));
            }
            let after = &rest[start + 2..];
            let end = after
                .find("}}")
                .ok_or_else(|| TemplateError::Unclosed(text.to_owned()))?;
            let name = after[..end].trim();
            if !is_variable_name(name) {
                return Err(TemplateError::BadName(name.to_owned()));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = &after[end + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The variables that the template names.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// The name of the first variable for which `value_of` has none.
    pub(crate) fn fill(&self, value_of: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Variable(name) => {
                    filled.push_str(&value_of(name).ok_or_else(|| name.clone())?);
                }
            }
        }
        Ok(filled)
    }
}

/// Spin's rule: lower-case words of letters and digits, each opened by a letter, joined by
/// single underscores.
pub(crate) fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && name.split('_').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let value_of = |name: &str| match name {
            "host" => Some("example.com".to_owned()),
            "port2" => Some("8000".to_owned()),
            _ => None,
        };
        let filled = Template::parse(text).unwrap().fill(value_of);
        assert_eq!(filled.as_deref().map_err(String::as_str), expect, "{text}");
    }

    #[test]
    fn fills_variables_in() {
        check("plain", Ok("plain"));
        check("", Ok(""));
        check(
            "https://{{ host }}:{{port2}}/",
            Ok("https://example.com:8000/"),
        );
        check("{{host}}{{host}}", Ok("example.comexample.com"));
        check("single { brace } stays", Ok("single { brace } stays"));
        check("{{ nobody }}", Err("nobody"));
    }

    #[test]
    fn refuses_what_is_no_template() {
        assert!(matches!(
            Template::parse("{{ host"),
            Err(TemplateError::Unclosed(_))
        ));
        for bad in [
            "{{}}",
            "{{ Host }}",
            "{{ a-b }}",
            "{{ _a }}",
            "{{ a__b }}",
            "{{ 1a }}",
        ] {
            assert!(
                matches!(Template::parse(bad), Err(TemplateError::BadName(_))),
                "{bad}"
            );
        }
    }
}
