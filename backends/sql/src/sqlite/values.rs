//! How values are kept in SQLite, which has five storage classes: the table is in the crate's README.

use std::sync::Arc;

use infra_core::database::Value;
use infra_core::{Error, ErrorKind, Result};
use rust_decimal::Decimal;
use sqlx::sqlite::{SqliteArguments, SqliteRow, SqliteValueRef};
use sqlx::{Arguments as _, Decode, Row as _, Sqlite, TypeInfo as _, ValueRef as _};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, UtcOffset};
use uuid::Uuid;

use super::shape::{Declared, Shape};

const DATE: &[BorrowedFormatItem<'static>] = format_description!("[year]-[month]-[day]");

/// RFC 3339 in UTC with nine decimals: texts sort as the moments do.
const TIMESTAMP: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

/// What SQLite's own `current_timestamp` writes, in UTC.
const CURRENT_TIMESTAMP: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// Encodes the values of a statement.
///
/// # Errors
/// [`InvalidArgument`](ErrorKind::InvalidArgument), naming the position and the kind, for what SQLite cannot keep without loss.
pub(crate) fn encode(values: Vec<Value>) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for (index, value) in values.into_iter().enumerate() {
        let kind = value.kind();
        add(&mut arguments, value).map_err(|problem| {
            Error::invalid_argument(format!("parameter {} ({kind}) {problem}", index + 1))
        })?;
    }
    Ok(arguments)
}

fn add(arguments: &mut SqliteArguments, value: Value) -> Result<(), String> {
    let added = match value {
        Value::Null => arguments.add(None::<i64>),
        Value::Boolean(value) => arguments.add(value),
        Value::Integer(value) => arguments.add(value),
        Value::Float(value) if value.is_nan() => {
            return Err(
                "is not a number, which SQLite would turn into null; bind null or another value".to_owned(),
            );
        }
        Value::Float(value) => arguments.add(value),
        Value::Decimal(value) => arguments.add(value.to_string()),
        Value::Text(value) => arguments.add(value),
        Value::Bytes(value) => arguments.add(Vec::from(value)),
        Value::Uuid(value) => arguments.add(value.hyphenated().to_string()),
        Value::Json(value) => arguments.add(json_text(&value)?),
        Value::Date(value) => arguments.add(date_text(value)?),
        Value::Timestamp(value) => arguments.add(timestamp_text(value)?),
        _ => return Err("is of a kind that this backend does not know".to_owned()),
    };
    added.map_err(|error| format!("cannot be encoded: {error}"))
}

/// A column declared `json` has numeric affinity, which turns a document that is one number into a double when it is no
/// signed 64-bit integer.
fn json_text(value: &serde_json::Value) -> Result<String, String> {
    if value
        .as_u64()
        .is_some_and(|number| i64::try_from(number).is_err())
    {
        return Err(
            "is one number beyond a signed 64-bit integer; put it in an object or bind text".to_owned(),
        );
    }
    serde_json::to_string(value).map_err(|error| format!("cannot be written: {error}"))
}

fn date_text(value: Date) -> Result<String, String> {
    if !(0..=9999).contains(&value.year()) {
        return Err("is outside the years 0 to 9999, where dates do not sort as text".to_owned());
    }
    value
        .format(DATE)
        .map_err(|error| format!("cannot be written: {error}"))
}

fn timestamp_text(value: OffsetDateTime) -> Result<String, String> {
    let value = value
        .checked_to_offset(UtcOffset::UTC)
        .filter(|value| (0..=9999).contains(&value.year()))
        .ok_or("is outside the years 0 to 9999 in UTC, where moments do not sort as text")?;
    value
        .format(TIMESTAMP)
        .map_err(|error| format!("cannot be written: {error}"))
}

/// Decodes a row.
///
/// # Errors
/// [`DataCorrupted`](ErrorKind::DataCorrupted), naming the column but not its value, when what is stored does not fit the
/// column's declared type.
pub(crate) fn decode(row: &SqliteRow, shape: &Shape) -> Result<infra_core::database::Row> {
    let mut values = Vec::with_capacity(shape.names().len());
    for (index, name) in shape.names().iter().enumerate() {
        let raw = row.try_get_raw(index).map_err(crate::error::translate)?;
        let value = decode_value(raw, shape.declared(index))
            .map_err(|problem| Error::new(ErrorKind::DataCorrupted, format!("column {name:?} {problem}")))?;
        values.push(value);
    }
    infra_core::database::Row::new(Arc::clone(shape.names()), values)
}

fn decode_value(raw: SqliteValueRef<'_>, declared: Declared) -> Result<Value, String> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    // For a value that is not null, sqlx gives its storage class and not the declared type.
    let stored = match raw.type_info().name() {
        "INTEGER" => Stored::Integer,
        "REAL" => Stored::Real,
        "TEXT" => Stored::Text,
        "BLOB" => Stored::Blob,
        other => return Err(format!("holds {other}, which this backend does not know")),
    };
    match stored {
        Stored::Integer => integer(get(raw)?, declared),
        Stored::Real => real(get(raw)?, declared),
        Stored::Text => text(get(raw)?, declared),
        Stored::Blob => blob(get(raw)?, declared),
    }
}

/// SQLite's storage classes, null aside.
enum Stored {
    Integer,
    Real,
    Text,
    Blob,
}

fn get<'r, T: Decode<'r, Sqlite>>(raw: SqliteValueRef<'r>) -> Result<T, String> {
    // The driver's message may repeat the value.
    T::decode(raw)
        .map_err(|_| "holds bytes that are not valid for its storage class (text must be UTF-8)".to_owned())
}

fn integer(value: i64, declared: Declared) -> Result<Value, String> {
    Ok(match declared {
        Declared::Boolean if value == 0 || value == 1 => Value::Boolean(value == 1),
        Declared::Decimal => Value::Decimal(Decimal::from(value)),
        Declared::Json => Value::Json(value.into()),
        _ => Value::Integer(value),
    })
}

fn real(value: f64, declared: Declared) -> Result<Value, String> {
    match declared {
        Declared::Decimal => Err(
            "is declared decimal or numeric, which SQLite keeps as a double and rounds; declare it `decimal text`".to_owned(),
        ),
        Declared::Json => serde_json::Number::from_f64(value)
            .map(|number| Value::Json(number.into()))
            .ok_or_else(|| "is declared json and holds a number that JSON lacks".to_owned()),
        _ => Ok(Value::Float(value)),
    }
}

fn text(value: String, declared: Declared) -> Result<Value, String> {
    let misfit = |what: &str| format!("is declared {what} and holds text that is none");
    match declared {
        Declared::Plain | Declared::Boolean => Ok(Value::Text(value)),
        Declared::Uuid => Uuid::try_parse(&value)
            .map(Value::Uuid)
            .map_err(|_| misfit("uuid")),
        Declared::Json => serde_json::from_str(&value)
            .map(Value::Json)
            .map_err(|_| misfit("json")),
        Declared::Decimal => Decimal::from_str_exact(&value)
            .map(Value::Decimal)
            .map_err(|_| misfit("decimal")),
        Declared::Date => Date::parse(&value, DATE)
            .map(Value::Date)
            .map_err(|_| misfit("date")),
        Declared::Timestamp => OffsetDateTime::parse(&value, &Rfc3339)
            .or_else(|_| {
                PrimitiveDateTime::parse(&value, CURRENT_TIMESTAMP).map(PrimitiveDateTime::assume_utc)
            })
            .map(Value::Timestamp)
            .map_err(|_| misfit("timestamp")),
    }
}

fn blob(value: Vec<u8>, declared: Declared) -> Result<Value, String> {
    match declared {
        Declared::Uuid => Uuid::from_slice(&value)
            .map(Value::Uuid)
            .map_err(|_| "is declared uuid and holds bytes that are not 16".to_owned()),
        _ => Ok(Value::Bytes(value.into())),
    }
}
