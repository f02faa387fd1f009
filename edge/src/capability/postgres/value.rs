//! Values between the port and PostgreSQL's binary forms.
//!
//! Each type says which of the server's types it is for, so that nothing is taken for
//! something else. It does NOT know statements.

mod time;

use super::numeric;
use bytes::{Buf as _, BufMut as _, BytesMut};
use edge_bindings::port::{
    PostgresBound, PostgresColumn, PostgresRange, PostgresType, PostgresValue,
};
use postgres_protocol::types::{Range, RangeBound, range_from_sql, range_to_sql};
use tokio_postgres::Column;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, WrongType, to_sql_checked};

type Failure = Box<dyn std::error::Error + Sync + Send>;

/// The first byte of a `jsonb`.
const JSONB_VERSION: u8 = 1;

/// The name and the type of a column.
pub(super) fn column(column: &Column) -> PostgresColumn {
    let data_type = match *column.type_() {
        Type::BOOL => PostgresType::Boolean,
        Type::BYTEA => PostgresType::Binary,
        Type::FLOAT4 => PostgresType::Floating32,
        Type::FLOAT8 => PostgresType::Floating64,
        Type::INT2 => PostgresType::Int16,
        Type::INT4 => PostgresType::Int32,
        Type::INT8 => PostgresType::Int64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => PostgresType::Text,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => PostgresType::Datetime,
        Type::DATE => PostgresType::Date,
        Type::TIME => PostgresType::Time,
        Type::UUID => PostgresType::Uuid,
        Type::JSONB => PostgresType::Jsonb,
        Type::NUMERIC => PostgresType::Decimal,
        Type::INT4_RANGE => PostgresType::RangeInt32,
        Type::INT8_RANGE => PostgresType::RangeInt64,
        Type::NUM_RANGE => PostgresType::RangeDecimal,
        Type::INT4_ARRAY => PostgresType::ArrayInt32,
        Type::INT8_ARRAY => PostgresType::ArrayInt64,
        Type::NUMERIC_ARRAY => PostgresType::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => PostgresType::ArrayText,
        Type::INTERVAL => PostgresType::Interval,
        ref other => PostgresType::Other(other.name().to_owned()),
    };
    PostgresColumn {
        name: column.name().to_owned(),
        data_type,
    }
}

/// One value of a row.
pub(super) struct Cell(pub(super) PostgresValue);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        use PostgresValue as P;
        Ok(Self(match *ty {
            Type::BOOL => P::Boolean(bool::from_sql(ty, raw)?),
            Type::BYTEA => P::Binary(raw.to_vec()),
            Type::FLOAT4 => P::Floating32(f32::from_sql(ty, raw)?),
            Type::FLOAT8 => P::Floating64(f64::from_sql(ty, raw)?),
            Type::INT2 => P::Int16(i16::from_sql(ty, raw)?),
            Type::INT4 => P::Int32(i32::from_sql(ty, raw)?),
            Type::INT8 => P::Int64(i64::from_sql(ty, raw)?),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR => P::Text(String::from_sql(ty, raw)?),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => P::Datetime(time::datetime(take_i64(raw)?)?),
            Type::DATE => P::Date(time::date(take_i32(raw)?)?),
            Type::TIME => P::Time(time::time(take_i64(raw)?)?),
            Type::UUID => P::Uuid(uuid_text(raw)?),
            Type::JSONB => P::Jsonb(json_of(raw)?),
            Type::NUMERIC => P::Decimal(numeric::read(raw)?),
            Type::INT4_RANGE => P::RangeInt32(read_range(raw, take_i32)?),
            Type::INT8_RANGE => P::RangeInt64(read_range(raw, take_i64)?),
            Type::NUM_RANGE => P::RangeDecimal(read_range(raw, |raw| Ok(numeric::read(raw)?))?),
            Type::INT4_ARRAY => P::ArrayInt32(Vec::from_sql(ty, raw)?),
            Type::INT8_ARRAY => P::ArrayInt64(Vec::from_sql(ty, raw)?),
            Type::NUMERIC_ARRAY => P::ArrayDecimal(decimals(ty, raw)?),
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => {
                P::ArrayText(Vec::from_sql(ty, raw)?)
            }
            Type::INTERVAL => interval(raw)?,
            _ => P::Unsupported(raw.to_vec()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failure> {
        Ok(Self(PostgresValue::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn unexpected(what: &str) -> Failure {
    format!("unexpected binary format for Postgres {what}").into()
}

fn take_i32(raw: &[u8]) -> Result<i32, Failure> {
    let bytes = raw.try_into().map_err(|_| unexpected("INT4 or DATE"))?;
    Ok(i32::from_be_bytes(bytes))
}

fn take_i64(raw: &[u8]) -> Result<i64, Failure> {
    let bytes = raw
        .try_into()
        .map_err(|_| unexpected("INT8, TIME or TIMESTAMP"))?;
    Ok(i64::from_be_bytes(bytes))
}

fn json_of(raw: &[u8]) -> Result<Vec<u8>, Failure> {
    match raw.split_first() {
        Some((&JSONB_VERSION, text)) => Ok(text.to_vec()),
        _ => Err(unexpected("JSONB")),
    }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
fn uuid_text(raw: &[u8]) -> Result<String, Failure> {
    use std::fmt::Write as _;
    if raw.len() != 16 {
        return Err(unexpected("UUID"));
    }
    let mut text = String::with_capacity(36);
    for (position, byte) in raw.iter().enumerate() {
        if [4, 6, 8, 10].contains(&position) {
            text.push('-');
        }
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

fn interval(mut raw: &[u8]) -> Result<PostgresValue, Failure> {
    if raw.len() != 16 {
        return Err(unexpected("INTERVAL"));
    }
    Ok(PostgresValue::Interval {
        micros: raw.get_i64(),
        days: raw.get_i32(),
        months: raw.get_i32(),
    })
}

fn decimals(ty: &Type, raw: &[u8]) -> Result<Vec<Option<String>>, Failure> {
    let all: Vec<Option<Decimal>> = Vec::from_sql(ty, raw)?;
    Ok(all.into_iter().map(|one| one.map(|one| one.0)).collect())
}

/// An empty range has no ends, as under Spin.
fn read_range<T>(
    raw: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Failure>,
) -> Result<PostgresRange<T>, Failure> {
    let bound = |bound: RangeBound<Option<&[u8]>>| {
        let (raw, inclusive) = match bound {
            RangeBound::Inclusive(Some(raw)) => (raw, true),
            RangeBound::Exclusive(Some(raw)) => (raw, false),
            _ => return Ok::<_, Failure>(None),
        };
        let value = read(raw)?;
        Ok(Some(PostgresBound { value, inclusive }))
    };
    match range_from_sql(raw)? {
        Range::Empty => Ok((None, None)),
        Range::Nonempty(lower, upper) => Ok((bound(lower)?, bound(upper)?)),
    }
}

/// A `numeric` as text.
#[derive(Debug)]
struct Decimal(String);

impl<'a> FromSql<'a> for Decimal {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        Ok(Self(numeric::read(raw)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }
}

impl ToSql for Decimal {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        numeric::write(&self.0, out)?;
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }

    to_sql_checked!();
}

/// A parameter of a statement.
#[derive(Debug)]
pub(super) struct Parameter(Written);

/// A value in the form in which the server is told.
#[derive(Debug)]
enum Written {
    /// By the client's own rules.
    Plain(Box<dyn ToSql + Sync + Send>),
    /// These bytes, for these types.
    Bytes(&'static [Type], Vec<u8>),
    /// Nothing, for any type.
    Null,
}

impl Parameter {
    /// Says what is wrong with a value that is none of its type.
    pub(super) fn check(value: PostgresValue) -> Result<Self, String> {
        use PostgresValue as P;
        let bytes = |types, bytes: &[u8]| Written::Bytes(types, bytes.to_vec());
        Ok(Self(match value {
            P::Null | P::Unsupported(_) => Written::Null,
            P::Boolean(v) => plain(v),
            P::Int8(v) => plain(v),
            P::Int16(v) => plain(v),
            P::Int32(v) => plain(v),
            P::Int64(v) => plain(v),
            P::Floating32(v) => plain(v),
            P::Floating64(v) => plain(v),
            P::Text(v) => plain(v),
            P::Binary(v) => plain(v),
            P::ArrayInt32(v) => plain(v),
            P::ArrayInt64(v) => plain(v),
            P::ArrayText(v) => plain(v),
            P::ArrayDecimal(v) => {
                for text in v.iter().flatten() {
                    numeric::write(text, &mut BytesMut::new())?;
                }
                plain(
                    v.into_iter()
                        .map(|one| one.map(Decimal))
                        .collect::<Vec<_>>(),
                )
            }
            P::Date(v) => bytes(&[Type::DATE], &time::days(v)?.to_be_bytes()),
            P::Time(v) => bytes(&[Type::TIME], &time::micros(v)?.to_be_bytes()),
            P::Datetime(v) => bytes(
                &[Type::TIMESTAMP, Type::TIMESTAMPTZ],
                &time::instant(v)?.to_be_bytes(),
            ),
            P::Timestamp(v) => bytes(
                &[Type::TIMESTAMPTZ, Type::TIMESTAMP],
                &time::of_unix(v)?.to_be_bytes(),
            ),
            P::Uuid(v) => bytes(&[Type::UUID], &uuid_bytes(&v)?),
            P::Jsonb(v) => json(&v)?,
            P::Decimal(v) => {
                let mut out = BytesMut::new();
                numeric::write(&v, &mut out)?;
                bytes(&[Type::NUMERIC], &out)
            }
            P::RangeInt32(v) => range(&[Type::INT4_RANGE], &v, |v, out| {
                out.put_i32(*v);
                Ok(())
            })?,
            P::RangeInt64(v) => range(&[Type::INT8_RANGE], &v, |v, out| {
                out.put_i64(*v);
                Ok(())
            })?,
            P::RangeDecimal(v) => range(&[Type::NUM_RANGE], &v, |v, out| numeric::write(v, out))?,
            P::Interval {
                micros,
                days,
                months,
            } => {
                let mut out = BytesMut::new();
                out.put_i64(micros);
                out.put_i32(days);
                out.put_i32(months);
                bytes(&[Type::INTERVAL], &out)
            }
        }))
    }
}

fn plain(value: impl ToSql + Sync + Send + 'static) -> Written {
    Written::Plain(Box::new(value))
}

fn uuid_bytes(text: &str) -> Result<[u8; 16], String> {
    let wrong = || format!("invalid UUID {text}");
    let bare = text.strip_prefix("urn:uuid:").unwrap_or(text);
    let bare = bare
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(bare);
    let digits: Vec<u8> = bare.bytes().filter(|byte| *byte != b'-').collect();
    let grouped = bare.len() == 32
        || (bare.len() == 36
            && [8, 13, 18, 23]
                .iter()
                .all(|at| bare.as_bytes()[*at] == b'-'));
    if digits.len() != 32 || !grouped {
        return Err(wrong());
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let hex = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(wrong);
        *byte = u8::try_from(hex(0)? * 16 + hex(1)?).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

/// JSON for a `jsonb` or a `json`; `to_sql` leaves the version out for the latter.
fn json(text: &[u8]) -> Result<Written, String> {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        let text = String::from_utf8_lossy(text);
        return Err(format!("invalid JSON {text}: {error}"));
    }
    let mut out = vec![JSONB_VERSION];
    out.extend_from_slice(text);
    Ok(Written::Bytes(&[Type::JSONB, Type::JSON], out))
}

fn range<T>(
    types: &'static [Type],
    (lower, upper): &PostgresRange<T>,
    write: impl Fn(&T, &mut BytesMut) -> Result<(), String>,
) -> Result<Written, String> {
    let write = &write;
    let bound = |bound: &Option<PostgresBound<T>>, out: &mut BytesMut| {
        let Some(bound) = bound else {
            return Ok::<_, Failure>(RangeBound::Unbounded);
        };
        write(&bound.value, out)?;
        let written = postgres_protocol::IsNull::No;
        Ok(match bound.inclusive {
            true => RangeBound::Inclusive(written),
            false => RangeBound::Exclusive(written),
        })
    };
    let mut out = BytesMut::new();
    range_to_sql(|out| bound(lower, out), |out| bound(upper, out), &mut out)
        .map_err(|error| error.to_string())?;
    Ok(Written::Bytes(types, out.to_vec()))
}

impl ToSql for Parameter {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match &self.0 {
            Written::Null => Ok(IsNull::Yes),
            Written::Plain(value) => value.to_sql_checked(ty, out),
            Written::Bytes(types, bytes) if types.contains(ty) => {
                let skipped = usize::from(*ty == Type::JSON);
                out.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
                Ok(IsNull::No)
            }
            Written::Bytes(..) => Err(Box::new(WrongType::new::<Self>(ty.clone()))),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests;
