//! One SQL statement: parameters in, bounded rows out, and what SQL may not do here.
//!
//! It knows SQLite; it does NOT know components or pools.

use edge_bindings::port::{ANSWER_BYTES_MAX, SqliteError, SqliteRows, SqliteValue};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql};
use std::time::{Duration, Instant};

/// The longest that one statement may run.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(30);
/// Virtual-machine steps between two looks at the clock; about a millisecond.
const STEPS_PER_CHECK: i32 = 100_000;

/// Settings of the file or of the process, which are the host's.
const HOST_PRAGMAS: [&str; 10] = [
    "data_store_directory",
    "journal_mode",
    "journal_size_limit",
    "locking_mode",
    "mmap_size",
    "synchronous",
    "temp_store",
    "temp_store_directory",
    "wal_autocheckpoint",
    "writable_schema",
];

/// Keeps statements inside their own file: no other file is attached, written or read.
pub(super) fn guard(connection: &Connection) {
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
        AuthAction::Pragma {
            pragma_name,
            pragma_value: Some(_),
        } if HOST_PRAGMAS.contains(&pragma_name.to_ascii_lowercase().as_str()) => {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }));
}

/// Runs one statement to its end.
pub(super) fn run(
    connection: &Connection,
    sql: &str,
    parameters: &[SqliteValue],
) -> Result<SqliteRows, SqliteError> {
    let end = Instant::now() + STATEMENT_TIME_MAX;
    connection.progress_handler(STEPS_PER_CHECK, Some(move || Instant::now() > end));
    let mut statement = connection.prepare_cached(sql).map_err(explain)?;
    let expected = statement.parameter_count();
    if expected != parameters.len() {
        return Err(SqliteError::Io(format!(
            "the statement has {expected} parameters, {} were given",
            parameters.len()
        )));
    }
    for (index, parameter) in parameters.iter().enumerate() {
        statement
            .raw_bind_parameter(index + 1, Parameter(parameter))
            .map_err(explain)?;
    }
    let columns: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut answer = SqliteRows {
        columns,
        rows: Vec::new(),
    };
    let width = answer.columns.len();
    let mut bytes = 0;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(explain)? {
        let mut values = Vec::with_capacity(width);
        for index in 0..width {
            let value = read(row.get_ref(index).map_err(explain)?)?;
            bytes += size_of::<SqliteValue>()
                + match &value {
                    SqliteValue::Text(text) => text.len(),
                    SqliteValue::Blob(blob) => blob.len(),
                    _ => 0,
                };
            values.push(value);
        }
        if bytes > ANSWER_BYTES_MAX {
            return Err(SqliteError::Io(format!(
                "the answer is larger than {ANSWER_BYTES_MAX} bytes"
            )));
        }
        answer.rows.push(values);
    }
    Ok(answer)
}

struct Parameter<'a>(&'a SqliteValue);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            SqliteValue::Integer(v) => ToSqlOutput::Owned(Value::Integer(*v)),
            SqliteValue::Real(v) => ToSqlOutput::Owned(Value::Real(*v)),
            SqliteValue::Text(v) => ToSqlOutput::Borrowed(ValueRef::Text(v.as_bytes())),
            SqliteValue::Blob(v) => ToSqlOutput::Borrowed(ValueRef::Blob(v)),
            SqliteValue::Null => ToSqlOutput::Owned(Value::Null),
        })
    }
}

fn read(value: ValueRef<'_>) -> Result<SqliteValue, SqliteError> {
    Ok(match value {
        ValueRef::Null => SqliteValue::Null,
        ValueRef::Integer(v) => SqliteValue::Integer(v),
        ValueRef::Real(v) => SqliteValue::Real(v),
        ValueRef::Text(v) => SqliteValue::Text(
            String::from_utf8(v.to_vec())
                .map_err(|_| SqliteError::Io("a text is not UTF-8".to_owned()))?,
        ),
        ValueRef::Blob(v) => SqliteValue::Blob(v.to_vec()),
    })
}

pub(super) fn explain(error: rusqlite::Error) -> SqliteError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => SqliteError::DatabaseFull,
        Some(ErrorCode::OperationInterrupted) => SqliteError::Io(format!(
            "the statement ran longer than {} s",
            STATEMENT_TIME_MAX.as_secs()
        )),
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            SqliteError::Io("the statement is not authorised here".to_owned())
        }
        _ => SqliteError::Io(error.to_string()),
    }
}
