//! A row of a result, and its way into a struct by serde.

use std::sync::Arc;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::Value;
use crate::error::{Error, ErrorKind, Result};

/// One row: values by column name and by position.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// Puts a row together; the column names are shared by all rows of a result.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when there are not as many values as columns.
    pub fn new(columns: Arc<[String]>, values: Vec<Value>) -> Result<Self> {
        if columns.len() == values.len() {
            Ok(Self { columns, values })
        } else {
            Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "a row of {} columns came with {} values",
                    columns.len(),
                    values.len()
                ),
            ))
        }
    }

    /// The value of a column, or `None` when the result has no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        let position = self.columns.iter().position(|name| name == column)?;
        self.values.get(position)
    }

    /// The values in the order of the columns.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The column names.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Turns the row into a struct (by column name), a tuple (by position) or a single value (the only column).
    ///
    /// # Errors
    /// [`DataCorrupted`](ErrorKind::DataCorrupted) names the column that does not fit, never its value.
    ///
    /// ```
    /// use infra_core::database::{Row, Value};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Account { id: i64, owner: Option<String> }
    ///
    /// let columns = vec!["id".to_owned(), "owner".to_owned()].into();
    /// let account: Account = Row::new(columns, vec![Value::Integer(7), Value::Null])?.decode()?;
    /// assert_eq!((account.id, account.owner), (7, None));
    /// # Ok::<(), infra_core::Error>(())
    /// ```
    pub fn decode<T: DeserializeOwned>(self) -> Result<T> {
        let columns = Arc::clone(&self.columns);
        serde_path_to_error::deserialize(RowDeserializer(self)).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." {
                format!("columns {columns:?}")
            } else {
                format!("column {path:?}")
            };
            Error::new(
                ErrorKind::DataCorrupted,
                format!(
                    "a row does not fit the requested type at {place}: {}",
                    error.inner()
                ),
            )
        })
    }
}

/// Serde's error without the offending value: what a column holds may be personal data.
#[derive(Debug)]
struct DecodeError(String);

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self(format!("found {}, expected {expected}", unexpected_kind(&found)))
    }

    fn invalid_value(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self(format!(
            "found a value of {} that does not fit, expected {expected}",
            unexpected_kind(&found)
        ))
    }
}

fn unexpected_kind(found: &serde::de::Unexpected<'_>) -> &'static str {
    use serde::de::Unexpected as U;
    match found {
        U::Bool(_) => "boolean",
        U::Unsigned(_) | U::Signed(_) => "integer",
        U::Float(_) => "float",
        U::Char(_) | U::Str(_) => "text",
        U::Bytes(_) => "bytes",
        U::Unit | U::Option => "null",
        U::Seq => "list",
        U::Map => "object",
        _ => "another kind",
    }
}

struct RowDeserializer(Row);

impl<'de> Deserializer<'de> for RowDeserializer {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let mut values = self.0.values;
        match (values.pop(), values.is_empty()) {
            (Some(only), true) => only.into_deserializer().deserialize_any(visitor),
            (Some(last), false) => {
                values.push(last);
                let columns = Arc::clone(&self.0.columns);
                visitor.visit_map(MapDeserializer::new(columns.iter().cloned().zip(values)))
            }
            (None, _) => visitor.visit_unit(),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let columns = Arc::clone(&self.0.columns);
        visitor.visit_map(MapDeserializer::new(columns.iter().cloned().zip(self.0.values)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(SeqDeserializer::new(self.0.values.into_iter()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0.values.pop() {
            Some(only) if self.0.values.is_empty() => only.into_deserializer().deserialize_option(visitor),
            Some(last) => {
                self.0.values.push(last);
                visitor.visit_some(self)
            }
            None => visitor.visit_none(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct enum
        identifier ignored_any
    }
}

struct ValueDeserializer(Value);

impl<'de> IntoDeserializer<'de, DecodeError> for Value {
    type Deserializer = ValueDeserializer;

    fn into_deserializer(self) -> ValueDeserializer {
        ValueDeserializer(self)
    }
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        use serde::de::Error as _;
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Integer(value) => visitor.visit_i64(value),
            Value::Float(value) => visitor.visit_f64(value),
            Value::Decimal(value) => visitor.visit_string(value.to_string()),
            Value::Text(value) => visitor.visit_string(value),
            Value::Bytes(value) => visitor.visit_byte_buf(value.into()),
            Value::Uuid(value) => visitor.visit_string(value.to_string()),
            Value::Json(value) => value.deserialize_any(visitor).map_err(DecodeError::custom),
            Value::Date(value) => visitor.visit_string(value.to_string()),
            Value::Timestamp(value) => {
                let text = value
                    .format(&time::format_description::well_known::Rfc3339)
                    .map_err(DecodeError::custom)?;
                visitor.visit_string(text)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// Engines without a boolean type give an integer back.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Integer(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    /// An enum stored as text is one of its unit variants.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        use serde::de::Error as _;
        match self.0 {
            Value::Text(text) => {
                let variant: serde::de::value::StringDeserializer<DecodeError> = text.into_deserializer();
                variant.deserialize_enum(name, variants, visitor)
            }
            other => Err(DecodeError::custom(format!(
                "found {}, expected a variant of {name} as text",
                other.kind()
            ))),
        }
    }

    /// A UUID may be asked for as text or as its 16 bytes.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Uuid(value) => visitor.visit_bytes(value.as_bytes()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[&str], values: Vec<Value>) -> Row {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        Row::new(columns.into(), values).expect("as many values as columns")
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Open,
        Closed,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Account {
        id: i64,
        open: bool,
        state: State,
        owner: Option<uuid::Uuid>,
    }

    #[test]
    fn decodes_structs_tuples_and_single_values() {
        let id = uuid::Uuid::from_u128(7);
        let account: Account = row(
            &["id", "open", "state", "owner"],
            vec![
                Value::Integer(1),
                Value::Integer(1),
                Value::Text("open".into()),
                Value::Uuid(id),
            ],
        )
        .decode()
        .expect("fits");
        assert_eq!(
            account,
            Account {
                id: 1,
                open: true,
                state: State::Open,
                owner: Some(id)
            }
        );

        let pair: (i64, Option<String>) = row(&["a", "b"], vec![Value::Integer(i64::MIN), Value::Null])
            .decode()
            .expect("fits");
        assert_eq!(pair, (i64::MIN, None));
        assert_eq!(
            row(&["n"], vec![Value::Integer(3)])
                .decode::<i64>()
                .expect("fits"),
            3
        );
        assert_eq!(
            row(&["n"], vec![Value::Null])
                .decode::<Option<i64>>()
                .expect("fits"),
            None
        );
    }

    #[test]
    fn a_misfit_names_the_column_and_hides_the_value() {
        let error = row(
            &["id", "open", "state", "owner"],
            vec![
                Value::Text("secret-value".into()),
                Value::Boolean(true),
                Value::Text("open".into()),
                Value::Null,
            ],
        )
        .decode::<Account>()
        .expect_err("text is no integer");
        assert_eq!(error.kind(), ErrorKind::DataCorrupted);
        assert!(
            error.message().contains("\"id\"") && !format!("{error:?}").contains("secret-value"),
            "{error}"
        );
    }
}
