//! The values that travel between statements and engines.

use bytes::Bytes;
use rust_decimal::Decimal;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

/// A value of a parameter or of a column.
///
/// Each engine stores each kind without loss or refuses it with a clear error; nothing is rounded or cut. Every `From`
/// that cannot lose anything is there, so that `.bind("id", 42_i64)` reads well.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// SQL `NULL`.
    Null,
    /// True or false.
    Boolean(bool),
    /// A signed 64-bit integer.
    Integer(i64),
    /// A double.
    Float(f64),
    /// An exact decimal number.
    Decimal(Decimal),
    /// Text, any Unicode.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// A UUID.
    Uuid(Uuid),
    /// A JSON document.
    Json(serde_json::Value),
    /// A calendar date.
    Date(Date),
    /// A moment. Engines keep it in UTC: the moment comes back, the offset it was written in does not.
    Timestamp(OffsetDateTime),
}

impl Value {
    /// The kind, for messages: never the value itself.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::Decimal(_) => "decimal",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Uuid(_) => "uuid",
            Self::Json(_) => "json",
            Self::Date(_) => "date",
            Self::Timestamp(_) => "timestamp",
        }
    }
}

/// Shows only the kind: parameter values may be personal data and never reach a log.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}>", self.kind())
    }
}

macro_rules! from {
    ($($from:ty => $make:expr),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                ($make)(value)
            }
        })+
    };
}

from! {
    bool => Value::Boolean,
    i64 => Value::Integer,
    i32 => |value| Value::Integer(i64::from(value)),
    i16 => |value| Value::Integer(i64::from(value)),
    u32 => |value| Value::Integer(i64::from(value)),
    u16 => |value| Value::Integer(i64::from(value)),
    u8 => |value| Value::Integer(i64::from(value)),
    f64 => Value::Float,
    f32 => |value| Value::Float(f64::from(value)),
    Decimal => Value::Decimal,
    String => Value::Text,
    &str => |value: &str| Value::Text(value.to_owned()),
    Bytes => Value::Bytes,
    Vec<u8> => |value| Value::Bytes(Bytes::from(value)),
    Uuid => Value::Uuid,
    serde_json::Value => Value::Json,
    Date => Value::Date,
    OffsetDateTime => Value::Timestamp,
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
