//! Between the port's values and those of each version of the interface. What a version
//! lacks is `unsupported` or `other`, as under Spin.

use super::rows::Answer;
use super::{v2_types as v2, v3, v4};
use crate::port::{
    PostgresBound, PostgresColumn, PostgresError, PostgresRange, PostgresType, PostgresValue,
};

type WitBound<T> = Option<(T, v4::RangeBoundKind)>;

fn to_range<T>((lower, upper): (WitBound<T>, WitBound<T>)) -> PostgresRange<T> {
    let bound = |(value, kind)| PostgresBound {
        value,
        inclusive: kind == v4::RangeBoundKind::Inclusive,
    };
    (lower.map(bound), upper.map(bound))
}

fn from_range<T>((lower, upper): PostgresRange<T>) -> (WitBound<T>, WitBound<T>) {
    let bound = |bound: PostgresBound<T>| match bound.inclusive {
        true => (bound.value, v4::RangeBoundKind::Inclusive),
        false => (bound.value, v4::RangeBoundKind::Exclusive),
    };
    (lower.map(bound), upper.map(bound))
}

impl From<v4::ParameterValue> for PostgresValue {
    fn from(value: v4::ParameterValue) -> Self {
        use v4::ParameterValue as P;
        match value {
            P::Boolean(v) => Self::Boolean(v),
            P::Int8(v) => Self::Int8(v),
            P::Int16(v) => Self::Int16(v),
            P::Int32(v) => Self::Int32(v),
            P::Int64(v) => Self::Int64(v),
            P::Floating32(v) => Self::Floating32(v),
            P::Floating64(v) => Self::Floating64(v),
            P::Str(v) => Self::Text(v),
            P::Binary(v) => Self::Binary(v),
            P::Date(v) => Self::Date(v),
            P::Time(v) => Self::Time(v),
            P::Datetime(v) => Self::Datetime(v),
            P::Timestamp(v) => Self::Timestamp(v),
            P::Uuid(v) => Self::Uuid(v),
            P::Jsonb(v) => Self::Jsonb(v),
            P::Decimal(v) => Self::Decimal(v),
            P::RangeInt32(v) => Self::RangeInt32(to_range(v)),
            P::RangeInt64(v) => Self::RangeInt64(to_range(v)),
            P::RangeDecimal(v) => Self::RangeDecimal(to_range(v)),
            P::ArrayInt32(v) => Self::ArrayInt32(v),
            P::ArrayInt64(v) => Self::ArrayInt64(v),
            P::ArrayDecimal(v) => Self::ArrayDecimal(v),
            P::ArrayStr(v) => Self::ArrayText(v),
            P::Interval(v) => Self::Interval {
                micros: v.micros,
                days: v.days,
                months: v.months,
            },
            P::DbNull => Self::Null,
        }
    }
}

impl From<v3::ParameterValue> for PostgresValue {
    fn from(value: v3::ParameterValue) -> Self {
        use v3::ParameterValue as P;
        match value {
            P::Boolean(v) => Self::Boolean(v),
            P::Int8(v) => Self::Int8(v),
            P::Int16(v) => Self::Int16(v),
            P::Int32(v) => Self::Int32(v),
            P::Int64(v) => Self::Int64(v),
            P::Floating32(v) => Self::Floating32(v),
            P::Floating64(v) => Self::Floating64(v),
            P::Str(v) => Self::Text(v),
            P::Binary(v) => Self::Binary(v),
            P::Date(v) => Self::Date(v),
            P::Time(v) => Self::Time(v),
            P::Datetime(v) => Self::Datetime(v),
            P::Timestamp(v) => Self::Timestamp(v),
            P::DbNull => Self::Null,
        }
    }
}

impl TryFrom<v2::ParameterValue> for PostgresValue {
    type Error = PostgresError;

    fn try_from(value: v2::ParameterValue) -> Result<Self, PostgresError> {
        use v2::ParameterValue as P;
        Ok(match value {
            P::Boolean(v) => Self::Boolean(v),
            P::Int8(v) => Self::Int8(v),
            P::Int16(v) => Self::Int16(v),
            P::Int32(v) => Self::Int32(v),
            P::Int64(v) => Self::Int64(v),
            P::Floating32(v) => Self::Floating32(v),
            P::Floating64(v) => Self::Floating64(v),
            P::Str(v) => Self::Text(v),
            P::Binary(v) => Self::Binary(v),
            P::DbNull => Self::Null,
            P::Uint8(_) | P::Uint16(_) | P::Uint32(_) | P::Uint64(_) => {
                let message = "Postgres does not support unsigned integers";
                return Err(PostgresError::ValueConversionFailed(message.to_owned()));
            }
        })
    }
}

impl From<PostgresValue> for v4::DbValue {
    fn from(value: PostgresValue) -> Self {
        use PostgresValue as P;
        match value {
            P::Null => Self::DbNull,
            P::Boolean(v) => Self::Boolean(v),
            P::Int8(v) => Self::Int8(v),
            P::Int16(v) => Self::Int16(v),
            P::Int32(v) => Self::Int32(v),
            P::Int64(v) => Self::Int64(v),
            P::Floating32(v) => Self::Floating32(v),
            P::Floating64(v) => Self::Floating64(v),
            P::Text(v) => Self::Str(v),
            P::Binary(v) => Self::Binary(v),
            P::Date(v) => Self::Date(v),
            P::Time(v) => Self::Time(v),
            P::Datetime(v) => Self::Datetime(v),
            P::Timestamp(v) => Self::Timestamp(v),
            P::Uuid(v) => Self::Uuid(v),
            P::Jsonb(v) => Self::Jsonb(v),
            P::Decimal(v) => Self::Decimal(v),
            P::RangeInt32(v) => Self::RangeInt32(from_range(v)),
            P::RangeInt64(v) => Self::RangeInt64(from_range(v)),
            P::RangeDecimal(v) => Self::RangeDecimal(from_range(v)),
            P::ArrayInt32(v) => Self::ArrayInt32(v),
            P::ArrayInt64(v) => Self::ArrayInt64(v),
            P::ArrayDecimal(v) => Self::ArrayDecimal(v),
            P::ArrayText(v) => Self::ArrayStr(v),
            P::Interval {
                micros,
                days,
                months,
            } => Self::Interval(v4::Interval {
                micros,
                days,
                months,
            }),
            P::Unsupported(v) => Self::Unsupported(v),
        }
    }
}

impl From<PostgresValue> for v3::DbValue {
    fn from(value: PostgresValue) -> Self {
        use PostgresValue as P;
        match value {
            P::Null => Self::DbNull,
            P::Boolean(v) => Self::Boolean(v),
            P::Int8(v) => Self::Int8(v),
            P::Int16(v) => Self::Int16(v),
            P::Int32(v) => Self::Int32(v),
            P::Int64(v) => Self::Int64(v),
            P::Floating32(v) => Self::Floating32(v),
            P::Floating64(v) => Self::Floating64(v),
            P::Text(v) => Self::Str(v),
            P::Binary(v) => Self::Binary(v),
            P::Date(v) => Self::Date(v),
            P::Time(v) => Self::Time(v),
            P::Datetime(v) => Self::Datetime(v),
            P::Timestamp(v) => Self::Timestamp(v),
            _ => Self::Unsupported,
        }
    }
}

impl From<PostgresValue> for v2::DbValue {
    fn from(value: PostgresValue) -> Self {
        use PostgresValue as P;
        match value {
            P::Null => Self::DbNull,
            P::Boolean(v) => Self::Boolean(v),
            P::Int8(v) => Self::Int8(v),
            P::Int16(v) => Self::Int16(v),
            P::Int32(v) => Self::Int32(v),
            P::Int64(v) => Self::Int64(v),
            P::Floating32(v) => Self::Floating32(v),
            P::Floating64(v) => Self::Floating64(v),
            P::Text(v) => Self::Str(v),
            P::Binary(v) => Self::Binary(v),
            _ => Self::Unsupported,
        }
    }
}

impl From<PostgresType> for v4::DbDataType {
    fn from(ty: PostgresType) -> Self {
        use PostgresType as P;
        match ty {
            P::Boolean => Self::Boolean,
            P::Int16 => Self::Int16,
            P::Int32 => Self::Int32,
            P::Int64 => Self::Int64,
            P::Floating32 => Self::Floating32,
            P::Floating64 => Self::Floating64,
            P::Text => Self::Str,
            P::Binary => Self::Binary,
            P::Date => Self::Date,
            P::Time => Self::Time,
            P::Datetime => Self::Datetime,
            P::Uuid => Self::Uuid,
            P::Jsonb => Self::Jsonb,
            P::Decimal => Self::Decimal,
            P::RangeInt32 => Self::RangeInt32,
            P::RangeInt64 => Self::RangeInt64,
            P::RangeDecimal => Self::RangeDecimal,
            P::ArrayInt32 => Self::ArrayInt32,
            P::ArrayInt64 => Self::ArrayInt64,
            P::ArrayDecimal => Self::ArrayDecimal,
            P::ArrayText => Self::ArrayStr,
            P::Interval => Self::Interval,
            P::Other(name) => Self::Other(name),
        }
    }
}

impl From<PostgresType> for v3::DbDataType {
    fn from(ty: PostgresType) -> Self {
        use PostgresType as P;
        match ty {
            P::Boolean => Self::Boolean,
            P::Int16 => Self::Int16,
            P::Int32 => Self::Int32,
            P::Int64 => Self::Int64,
            P::Floating32 => Self::Floating32,
            P::Floating64 => Self::Floating64,
            P::Text => Self::Str,
            P::Binary => Self::Binary,
            P::Date => Self::Date,
            P::Time => Self::Time,
            P::Datetime => Self::Datetime,
            _ => Self::Other,
        }
    }
}

impl From<PostgresType> for v2::DbDataType {
    fn from(ty: PostgresType) -> Self {
        use PostgresType as P;
        match ty {
            P::Boolean => Self::Boolean,
            P::Int16 => Self::Int16,
            P::Int32 => Self::Int32,
            P::Int64 => Self::Int64,
            P::Floating32 => Self::Floating32,
            P::Floating64 => Self::Floating64,
            P::Text => Self::Str,
            P::Binary => Self::Binary,
            _ => Self::Other,
        }
    }
}

impl From<PostgresError> for v4::Error {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::ConnectionFailed(text) => Self::ConnectionFailed(text),
            PostgresError::BadParameter(text) => Self::BadParameter(text),
            PostgresError::QueryFailed(text) => Self::QueryFailed(v4::QueryError::Text(text)),
            PostgresError::Database(error) => {
                Self::QueryFailed(v4::QueryError::DbError(v4::DbError {
                    as_text: error.as_text,
                    severity: error.severity,
                    code: error.code,
                    message: error.message,
                    detail: error.detail,
                    extras: error.extras,
                }))
            }
            PostgresError::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
            PostgresError::Other(text) => Self::Other(text),
        }
    }
}

/// The errors of the older versions have one shape.
macro_rules! older_error {
    ($version:ident) => {
        impl From<PostgresError> for $version::Error {
            fn from(error: PostgresError) -> Self {
                match error {
                    PostgresError::ConnectionFailed(text) => Self::ConnectionFailed(text),
                    PostgresError::BadParameter(text) => Self::BadParameter(text),
                    PostgresError::QueryFailed(text) => Self::QueryFailed(text),
                    PostgresError::Database(error) => Self::QueryFailed(error.as_text),
                    PostgresError::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
                    PostgresError::Other(text) => Self::Other(text),
                }
            }
        }
    };
}

older_error!(v3);
older_error!(v2);

/// Columns and answers have one shape in all versions.
macro_rules! answer {
    ($version:ident) => {
        impl From<PostgresColumn> for $version::Column {
            fn from(column: PostgresColumn) -> Self {
                Self {
                    name: column.name,
                    data_type: column.data_type.into(),
                }
            }
        }

        impl From<Answer> for $version::RowSet {
            fn from(answer: Answer) -> Self {
                let rows = answer.rows.into_iter();
                Self {
                    columns: answer.columns.into_iter().map(Into::into).collect(),
                    rows: rows
                        .map(|row| row.into_iter().map(Into::into).collect())
                        .collect(),
                }
            }
        }
    };
}

answer!(v4);
answer!(v3);
answer!(v2);
