//! What a statement takes and gives: values, and rows with checked columns.
//!
//! It stands between a component's domain types and a database's rows. It does not know where
//! the rows come from.

use crate::DatabaseError;

/// One value. The components' records are integers and text; a real or a blob in a row is a
/// defect and reads as `Null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// UTF-8 text.
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// The text in a column.
    pub fn text(&self, column: usize) -> Result<&str, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(DatabaseError::Shape {
                column,
                expected: "text",
            }),
        }
    }

    /// The text in a column that may be null.
    pub fn optional_text(&self, column: usize) -> Result<Option<&str>, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(DatabaseError::Shape {
                column,
                expected: "text or null",
            }),
        }
    }

    /// The integer in a column.
    pub fn integer(&self, column: usize) -> Result<i64, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Integer(integer)) => Ok(*integer),
            _ => Err(DatabaseError::Shape {
                column,
                expected: "an integer",
            }),
        }
    }

    /// The integer in a column that may be null.
    pub fn optional_integer(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Integer(integer)) => Ok(Some(*integer)),
            Some(Value::Null) => Ok(None),
            _ => Err(DatabaseError::Shape {
                column,
                expected: "an integer or null",
            }),
        }
    }

    /// A number of 32 bits in a column that may be null.
    pub fn optional_u32(&self, column: usize) -> Result<Option<u32>, DatabaseError> {
        self.optional_integer(column)?
            .map(u32::try_from)
            .transpose()
            .map_err(|_| DatabaseError::Shape {
                column,
                expected: "a number of 32 bits",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_another_shape_is_named() {
        let row = Row(vec![Value::Null, Value::Integer(-1), Value::from("x")]);
        assert_eq!(row.text(2), Ok("x"));
        assert_eq!(row.optional_text(0), Ok(None));
        assert_eq!(row.integer(1), Ok(-1));
        assert_eq!(
            row.text(0),
            Err(DatabaseError::Shape {
                column: 0,
                expected: "text"
            })
        );
        assert_eq!(
            row.optional_u32(1),
            Err(DatabaseError::Shape {
                column: 1,
                expected: "a number of 32 bits"
            })
        );
        assert_eq!(
            row.integer(9),
            Err(DatabaseError::Shape {
                column: 9,
                expected: "an integer"
            })
        );
    }
}
