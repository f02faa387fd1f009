//! SQL records behind one trait: rows, values, errors and migrations.
//!
//! It stands under every component that keeps records; the host's `spin:sqlite` is below it. It
//! does not know any table, nor who asks.

/// A real SQLite file, for tests outside a component.
#[cfg(feature = "native")]
pub mod file;
/// Numbered changes of a schema, each applied once.
pub mod migrate;
/// The host's SQLite.
#[cfg(target_family = "wasm")]
pub mod spin;
/// What a statement takes and gives.
pub mod value;

pub use migrate::migrate;
pub use value::{Row, Value};

/// Why a statement gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The database could not be opened, is busy or is full. A retry can help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The statement failed. A retry cannot help.
    #[error("the statement failed: {0}")]
    Statement(String),
    /// A row is not of the shape that the statement promises.
    #[error("column {column} is not {expected}")]
    Shape {
        /// Counted from zero.
        column: usize,
        /// What was to be there.
        expected: &'static str,
    },
}

impl DatabaseError {
    /// From SQLite's words. The host hands on words only, so they are all there is to tell a
    /// passing trouble (SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL, SQLITE_IOERR, SQLITE_CANTOPEN)
    /// from a lasting one.
    pub fn from_words(words: String) -> Self {
        const PASSING: [&str; 6] = [
            "database is locked",
            "database table is locked",
            "database or disk is full",
            "disk I/O error",
            "unable to open database file",
            "database schema has changed",
        ];
        if PASSING.iter().any(|passing| words.contains(passing)) {
            Self::Unavailable(words)
        } else {
            Self::Statement(words)
        }
    }

    /// What a statement of a schema adds is there.
    pub(crate) fn is_applied_already(&self) -> bool {
        let said = |words: &str| {
            words.contains("duplicate column name") || words.contains("already exists")
        };
        matches!(self, Self::Statement(words) if said(words))
    }

    /// The schema was never made.
    pub fn is_missing_table(&self) -> bool {
        matches!(self, Self::Statement(words) if words.contains("no such table"))
    }
}

/// A database of records.
///
/// Invariant: a statement is atomic and durable when its future is ready; there are no
/// transactions over several statements.
pub trait Database {
    /// Runs one statement and collects its rows. The caller bounds them (`LIMIT`).
    fn execute(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, DatabaseError>>;
}
