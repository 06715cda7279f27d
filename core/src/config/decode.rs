//! A `serde` deserialiser over the tree of values, whose errors are data and never quote text.
//!
//! Values from files keep their types: the text `"5"` is no number. Only environment variables, which are all text, are
//! read as whatever type the configuration asks for.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Kind, Node};

/// Texts that a [`Kind::Filler`] tries in turn where text is wanted: plain, a URL, a duration, a number, addresses, an id.
const FILLER_TEXTS: [&str; 8] = [
    "filler",
    "memory://",
    "1s",
    "1",
    "127.0.0.1",
    "127.0.0.1:1",
    "00000000-0000-4000-8000-000000000000",
    "true",
];

/// How often a filler may try.
pub(super) const FILLER_ATTEMPTS: usize = FILLER_TEXTS.len();

/// Why a value could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// A key that the configuration does not know.
    Unknown { field: String, message: String },
    /// A key that the configuration needs.
    Missing { field: &'static str },
    /// A list or table is asked for where the text of an environment variable stands: unfold it and decode again.
    Structure,
    /// Anything else.
    Bad(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { message, .. } | Self::Bad(message) => f.write_str(message),
            Self::Structure => f.write_str("expected a list or a table"),
            Self::Missing { field } => write!(f, "`{field}` is missing"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Bad(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Bad(format!("expected {expected}, found {}", unquoted(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Str(_) => Self::Bad(format!("expected {expected}, found text that is not one")),
            found => Self::invalid_type(found, expected),
        }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Bad(format!("expected {}", one_of(expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let message = if expected.is_empty() {
            "unknown key; none is expected here".to_owned()
        } else {
            format!("unknown key; expected {}", one_of(expected))
        };
        Self::Unknown {
            field: field.to_owned(),
            message,
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing { field }
    }
}

/// Names what was found, without the text of it: a password in the wrong place is still a password.
fn unquoted(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(_) => "text".to_owned(),
        Unexpected::Bytes(_) => "bytes".to_owned(),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

impl Node {
    /// The error for an environment variable that cannot be read as what is asked for.
    fn unreadable(visitor: &dyn Expected) -> DecodeError {
        DecodeError::Bad(format!("expected {visitor}"))
    }

    /// Turns the text of an environment variable into the list or table that is asked for: JSON, or items between commas.
    pub(super) fn unfold_variable(&mut self) -> Result<(), DecodeError> {
        let Kind::Variable(text) = &self.kind else {
            return Err(DecodeError::Bad("not a list or table".to_owned()));
        };
        self.kind = if text.trim_start().starts_with(['[', '{']) {
            let value = serde_json::from_str(text)
                .map_err(|error| DecodeError::Bad(format!("not valid JSON at column {}", error.column())))?;
            Self::from_json(value, &self.source).kind
        } else {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Kind::Sequence(
                items
                    .map(|item| Self::new(Kind::Variable(item.to_owned()), self.source.clone()))
                    .collect(),
            )
        };
        Ok(())
    }

    fn visit_variable<'de, V: Visitor<'de>>(text: &'de str, visitor: V) -> Result<V::Value, DecodeError> {
        if let Some(value) = read_bool(text) {
            visitor.visit_bool(value)
        } else if let Ok(value) = text.parse::<i128>() {
            visit_integer(value, visitor)
        } else if let Ok(value) = text.parse::<f64>() {
            visitor.visit_f64(value)
        } else {
            visitor.visit_borrowed_str(text)
        }
    }
}

/// Booleans as people write them in variables; numbers are left to be numbers.
fn read_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn visit_integer<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, DecodeError> {
    if let Ok(value) = u64::try_from(value) {
        visitor.visit_u64(value)
    } else if let Ok(value) = i64::try_from(value) {
        visitor.visit_i64(value)
    } else {
        visitor.visit_i128(value)
    }
}

macro_rules! deserialize_number {
    ($($method:ident $parsed:ty => $visit:expr;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match &self.kind {
                Kind::Variable(text) => match text.trim().parse::<$parsed>() {
                    Ok(number) => $visit(number, visitor),
                    Err(_) => Err(Node::unreadable(&visitor)),
                },
                // One, not zero: it is the smallest number that `NonZero` accepts.
                Kind::Filler(_) => visitor.visit_u64(1),
                _ => self.deserialize_any(visitor),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Integer(value) => visit_integer(*value, visitor),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(text) => visitor.visit_borrowed_str(text),
            Kind::Variable(text) => Node::visit_variable(text, visitor),
            Kind::Sequence(values) => {
                let mut sequence = SeqDeserializer::new(values.iter());
                let value = visitor.visit_seq(&mut sequence)?;
                sequence.end()?;
                Ok(value)
            }
            Kind::Table(table) => {
                visitor.visit_map(Entries::new(table.iter().map(|(key, node)| (key.as_str(), node))))
            }
            Kind::Filler(_) => visitor.visit_str("filler"),
        }
    }

    deserialize_number! {
        deserialize_i8 i128 => visit_integer;
        deserialize_i16 i128 => visit_integer;
        deserialize_i32 i128 => visit_integer;
        deserialize_i64 i128 => visit_integer;
        deserialize_i128 i128 => visit_integer;
        deserialize_u8 i128 => visit_integer;
        deserialize_u16 i128 => visit_integer;
        deserialize_u32 i128 => visit_integer;
        deserialize_u64 i128 => visit_integer;
        deserialize_u128 i128 => visit_integer;
        deserialize_f32 f64 => |number, visitor: V| visitor.visit_f64(number);
        deserialize_f64 f64 => |number, visitor: V| visitor.visit_f64(number);
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Variable(text) => match text.trim() {
                "1" => visitor.visit_bool(true),
                "0" => visitor.visit_bool(false),
                text => match read_bool(text) {
                    Some(value) => visitor.visit_bool(value),
                    None => Err(Node::unreadable(&visitor)),
                },
            },
            Kind::Filler(_) => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Variable(text) => visitor.visit_borrowed_str(text),
            Kind::Filler(attempt) => visitor.visit_str(FILLER_TEXTS[attempt % FILLER_TEXTS.len()]),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Filler(_) => visitor.visit_char('-'),
            _ => self.deserialize_str(visitor),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Null | Kind::Filler(_) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Filler(_) => visitor.visit_unit(),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Variable(_) => Err(DecodeError::Structure),
            Kind::Filler(_) => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<&'de Node>())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Filler(_) => visitor.visit_seq(SeqDeserializer::new(std::iter::repeat_n(self, length))),
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Variable(_) => Err(DecodeError::Structure),
            Kind::Filler(_) => visitor.visit_map(Entries::new(std::iter::empty::<(&'de str, &'de Node)>())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.kind {
            Kind::Text(text) | Kind::Variable(text) => visitor.visit_enum(StrDeserializer::new(text)),
            Kind::Table(table) if table.len() == 1 => visitor.visit_enum(MapAccessDeserializer::new(
                Entries::new(table.iter().map(|(key, node)| (key.as_str(), node))),
            )),
            Kind::Filler(attempt) => {
                let name = variants.get(attempt % variants.len().max(1)).copied();
                let entry = name.map(|name| (name, self));
                visitor.visit_enum(MapAccessDeserializer::new(Entries::new(entry.into_iter())))
            }
            _ => Err(DecodeError::Bad(format!(
                "expected the name of a variant or a table with one key, {}",
                one_of(variants)
            ))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }
}

impl<'de> IntoDeserializer<'de, DecodeError> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The entries of a table.
struct Entries<'de, I> {
    entries: I,
    value: Option<&'de Node>,
}

impl<'de, I: Iterator<Item = (&'de str, &'de Node)>> Entries<'de, I> {
    fn new(entries: I) -> Self {
        Self { entries, value: None }
    }
}

impl<'de, I: Iterator<Item = (&'de str, &'de Node)>> MapAccess<'de> for Entries<'de, I> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        // A key is text, yet maps may be keyed by numbers.
        seed.deserialize(KeyText(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(DecodeError::Bad("a key without a value".to_owned())),
        }
    }
}

/// A table's key: text for whoever asks for text, a number for whoever asks for a number.
struct KeyText<'de>(&'de str);

macro_rules! deserialize_key_number {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.0.parse() {
                Ok(number) => visit_integer(number, visitor),
                Err(_) => Err(Node::unreadable(&visitor)),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for KeyText<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.0)
    }

    deserialize_key_number! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(StrDeserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
