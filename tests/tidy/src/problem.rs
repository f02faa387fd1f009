//! One thing that is not tidy, as a rule found it and as a person reads it.
//!
//! Knows nothing of the rules.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Relative to the repository's root.
    pub(crate) path: String,
    /// Counted from 1. None where the problem is the whole file, or a missing one.
    pub(crate) line: Option<usize>,
    /// What is wrong, and what to do instead.
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn at(path: &str, line: usize, message: impl Into<String>) -> Problem {
        Problem {
            path: path.to_owned(),
            line: Some(line),
            message: message.into(),
        }
    }

    pub(crate) fn of(path: &str, message: impl Into<String>) -> Problem {
        Problem {
            path: path.to_owned(),
            line: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}
