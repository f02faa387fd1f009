//! What is wrong in a manifest, and where: the path of keys that leads there, and with the
//! text at hand the line.
//!
//! It knows TOML; it does NOT know what any key means.

use std::fmt;
use toml::de::{DeTable, DeValue};

/// One mistake. Its path grows from the inside out as it is handed up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Keys, and positions in lists, innermost last.
    path: Vec<String>,
    message: String,
}

impl Mistake {
    /// A mistake of the value that is being checked.
    pub(super) fn here(message: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
        }
    }

    /// A mistake in the value of `key`.
    pub(super) fn at(key: &str, message: impl fmt::Display) -> Self {
        Self::here(message.to_string()).below(key)
    }

    /// The same, seen from the table (or list) that has `key`.
    pub(super) fn below(mut self, key: impl fmt::Display) -> Self {
        self.path.insert(0, key.to_string());
        self
    }

    /// The mistake in words, with its line in `text` where the path leads to one.
    pub(super) fn explain(&self, text: &str) -> String {
        match self.line(text) {
            Some(line) => format!("{self} (line {line})"),
            None => self.to_string(),
        }
    }

    /// The line of the deepest key of the path that is in `text`.
    fn line(&self, text: &str) -> Option<usize> {
        let table = DeTable::parse(text).ok()?;
        let mut place = None;
        let mut value: Option<&DeValue<'_>> = None;
        for key in &self.path {
            let (start, next) = match value {
                None => in_table(table.get_ref(), key),
                Some(DeValue::Table(table)) => in_table(table, key),
                Some(DeValue::Array(array)) => key
                    .parse::<usize>()
                    .ok()
                    .and_then(|position| array.get(position))
                    .map(|item| (item.span().start, item.get_ref())),
                Some(_) => None,
            }
            .unzip();
            let (Some(start), Some(next)) = (start, next) else {
                break;
            };
            place = Some(start);
            value = Some(next);
        }
        let before = text.get(..place?)?;
        Some(before.matches('\n').count() + 1)
    }
}

fn in_table<'a>(table: &'a DeTable<'_>, key: &str) -> Option<(usize, &'a DeValue<'a>)> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(name, value)| (name.span().start, value.get_ref()))
}

impl fmt::Display for Mistake {
    /// `component.one.files: what is wrong`; a key that is not bare is quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, key) in self.path.iter().enumerate() {
            let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            match (key.parse::<usize>(), key.chars().all(bare)) {
                (Ok(number), _) => write!(f, "[{number}]")?,
                (Err(_), true) if position == 0 => f.write_str(key)?,
                (Err(_), true) => write!(f, ".{key}")?,
                (Err(_), false) => write!(f, ".{key:?}")?,
            }
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_says_its_path_and_the_line_of_its_deepest_known_key() {
        let text = "[a]\nb = 1\n[[c]]\nd = 1\n[[c]]\nd = [1,\n 2]\n";
        let check = |mistake: Mistake, expect: &str| assert_eq!(mistake.explain(text), expect);
        check(Mistake::at("b", "no").below("a"), "a.b: no (line 2)");
        check(Mistake::at("x", "no").below("a"), "a.x: no (line 1)");
        let nested = Mistake::at("d", "no").below(1).below("c");
        check(nested, "c[1].d: no (line 6)");
        let deep = Mistake::here("no").below(1).below("d").below(1).below("c");
        check(deep, "c[1].d[1]: no (line 7)");
        check(
            Mistake::at("q:r/s", "no").below("a"),
            "a.\"q:r/s\": no (line 1)",
        );
        check(Mistake::here("all wrong"), "all wrong");
    }
}
