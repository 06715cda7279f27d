//! Replies of the server, as what the contracts return; bytes are not copied.

use bytes::Bytes;
use infra_core::Result;
use infra_core::cache::Scored;
use redis::Value;

use crate::client::unexpected;
use crate::error;

/// A reply that is no error.
pub(crate) fn good(reply: Value) -> Result<Value> {
    match reply {
        // The errors of a pipeline stand in their places; the server refused these commands.
        Value::ServerError(refused) => Err(error::of(refused.into(), true)),
        reply => Ok(reply),
    }
}

/// A string, or nothing.
pub(crate) fn value(reply: Value) -> Result<Option<Bytes>> {
    match good(reply)? {
        Value::Nil => Ok(None),
        reply => bytes(reply).map(Some),
    }
}

/// A string.
pub(crate) fn bytes(reply: Value) -> Result<Bytes> {
    match good(reply)? {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        Value::Okay => Ok(Bytes::from_static(b"OK")),
        _ => Err(unexpected()),
    }
}

/// A number.
pub(crate) fn number(reply: Value) -> Result<i64> {
    match good(reply)? {
        Value::Int(number) => Ok(number),
        _ => Err(unexpected()),
    }
}

/// How many there were.
pub(crate) fn count(reply: Value) -> Result<u64> {
    u64::try_from(number(reply)?).map_err(|_| unexpected())
}

/// Whether it was so.
pub(crate) fn flag(reply: Value) -> Result<bool> {
    match good(reply)? {
        Value::Boolean(flag) => Ok(flag),
        Value::Int(number) => Ok(number != 0),
        _ => Err(unexpected()),
    }
}

/// That it was done.
pub(crate) fn done(reply: Value) -> Result<()> {
    match good(reply)? {
        Value::Okay => Ok(()),
        _ => Err(unexpected()),
    }
}

/// A list.
pub(crate) fn list(reply: Value) -> Result<Vec<Value>> {
    match good(reply)? {
        Value::Array(values) | Value::Set(values) => Ok(values),
        _ => Err(unexpected()),
    }
}

/// Members, in no order.
pub(crate) fn members(reply: Value) -> Result<Vec<Bytes>> {
    list(reply)?.into_iter().map(bytes).collect()
}

/// A score, or nothing.
pub(crate) fn score(reply: Value) -> Result<Option<f64>> {
    match good(reply)? {
        Value::Nil => Ok(None),
        Value::Double(score) => Ok(Some(score)),
        _ => Err(unexpected()),
    }
}

/// Members with their scores.
pub(crate) fn scored(reply: Value) -> Result<Vec<Scored>> {
    let pair = |pair: Value| {
        let mut pair = list(pair)?.into_iter();
        let (Some(member), Some(place), None) = (pair.next(), pair.next(), pair.next()) else {
            return Err(unexpected());
        };
        Ok(Scored::new(bytes(member)?, score(place)?.ok_or_else(unexpected)?))
    };
    list(reply)?.into_iter().map(pair).collect()
}

/// A name.
pub(crate) fn text(reply: Value) -> Result<String> {
    String::from_utf8(bytes(reply)?.into()).map_err(|_| {
        infra_core::Error::new(
            infra_core::ErrorKind::DataCorrupted,
            "a name that some other program stored is not UTF-8",
        )
    })
}
