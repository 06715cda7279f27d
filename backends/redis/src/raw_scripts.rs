//! Scripts that callers wrote: run by their hash, their replies and errors in this project's words.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use infra_core::cache::{Script, ScriptValue};
use infra_core::{Error, ErrorKind, Result};
use redis::{ErrorKind as DriverKind, RedisError, ServerErrorKind, Value};

use crate::cache::RedisCache;
use crate::client::Repeat;
use crate::reply;
use crate::script::Invocation;
use crate::slots::check_one_slot;

/// The address and length of a source.
type Place = (usize, usize);

/// Hashes of the sources that are part of the program, by where they are: they stay there.
static HASHES: Mutex<BTreeMap<Place, Arc<str>>> = Mutex::new(BTreeMap::new());
/// How many are kept; a program that has more of them has the others hashed each time, which takes a microsecond or two.
const MOST_HASHES: usize = 256;

/// The hash by which the server knows a script. Only those of the program's own sources are kept: what is made at run time has no end.
fn hash_of(script: &Script) -> Arc<str> {
    let compute = || Arc::from(redis::Script::new(&script.source).get_hash());
    let Cow::Borrowed(source) = script.source else {
        return compute();
    };
    let mut hashes = HASHES.lock().unwrap_or_else(PoisonError::into_inner);
    let place = (source.as_ptr().addr(), source.len());
    if let Some(hash) = hashes.get(&place) {
        return Arc::clone(hash);
    }
    let hash = compute();
    if hashes.len() < MOST_HASHES {
        hashes.insert(place, Arc::clone(&hash));
    }
    hash
}

impl RedisCache {
    pub(crate) async fn run_raw(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[Bytes],
    ) -> Result<ScriptValue> {
        self.client.check_open()?;
        let keys: Result<Vec<String>> = keys.iter().map(|key| self.key(key)).collect();
        let keys = keys?;
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if self.client.config().is_cluster() {
            check_one_slot(keys.iter().copied())?;
        }
        for argument in arguments {
            self.limits().check_value("argument", argument.len())?;
        }
        let _changing: Vec<_> = keys.iter().map(|key| self.changing(key)).collect();
        let mut invocation = Invocation::by(&script.source, &hash_of(script), &keys);
        for argument in arguments {
            invocation.arg(&argument[..]);
        }
        let reply = self.client.invoke(&invocation, Repeat::Never).await;
        value(reply.map_err(raised)?)
    }
}

/// A reply of any form.
fn value(reply: Value) -> Result<ScriptValue> {
    let values = |values: Vec<Value>| values.into_iter().map(value).collect::<Result<Vec<_>>>();
    match reply {
        Value::Nil => Ok(ScriptValue::Null),
        Value::Int(number) => Ok(ScriptValue::Integer(number)),
        Value::Boolean(flag) => Ok(ScriptValue::Integer(i64::from(flag))),
        Value::Double(number) => Ok(ScriptValue::Bytes(number.to_string().into())),
        Value::VerbatimString { text, .. } => Ok(ScriptValue::Bytes(text.into())),
        Value::BigNumber(digits) => Ok(ScriptValue::Bytes(digits.into())),
        Value::Array(list) | Value::Set(list) | Value::Push { data: list, .. } => {
            Ok(ScriptValue::List(values(list)?))
        }
        Value::Map(pairs) => {
            let flat = pairs.into_iter().flat_map(|(key, value)| [key, value]);
            Ok(ScriptValue::List(values(flat.collect())?))
        }
        Value::Attribute { data, .. } => value(*data),
        Value::ServerError(refused) => Err(raised(crate::error::of(refused.into(), false))),
        reply => Ok(ScriptValue::Bytes(reply::bytes(reply)?)),
    }
}

/// The error of a script, without the server's words: they may quote what the script was given.
fn raised(error: Error) -> Error {
    let Some(source) = error.downcast_source::<RedisError>() else {
        return error;
    };
    let kind = source.kind();
    if !matches!(kind, DriverKind::Server(_) | DriverKind::Extension) {
        return error;
    }
    let detail = source.detail().unwrap_or_default();
    if detail.starts_with("Error compiling script") {
        return Error::new(
            ErrorKind::InvalidArgument,
            format!("the script does not compile{}", line_of(detail)),
        )
        .without_effect();
    }
    // What is refused before a script begins; anything else may come from the middle of one.
    if let DriverKind::Server(kind) = kind
        && !matches!(
            kind,
            ServerErrorKind::ResponseError | ServerErrorKind::ReadOnly | ServerErrorKind::NoPerm
        )
    {
        return Error::new(error.kind(), error.message().to_owned()).without_effect();
    }
    // Before Redis 7 the code of what a command in a script raised is in the words.
    if detail.contains("WRONGTYPE") {
        return during(ErrorKind::Conflict, "a key holds another type", detail);
    }
    match error.kind() {
        ErrorKind::Internal => during(ErrorKind::Internal, "it raised an error", detail),
        kind => during(kind, error.message(), detail),
    }
}

fn during(kind: ErrorKind, what: &str, detail: &str) -> Error {
    Error::new(
        kind,
        format!(
            "the script failed{}: {what}; what it did before stays done",
            line_of(detail)
        ),
    )
}

/// The line of the script that the server names.
fn line_of(detail: &str) -> String {
    let behind = detail
        .rsplit_once("user_script:")
        .map_or("", |(_, behind)| behind);
    let digits: String = behind.chars().take_while(char::is_ascii_digit).take(9).collect();
    if digits.is_empty() {
        String::new()
    } else {
        format!(" (line {digits})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_reply_has_its_value() {
        let bytes = |text: &'static str| ScriptValue::Bytes(Bytes::from_static(text.as_bytes()));
        let simple = |text: &str| Value::SimpleString(text.to_owned());
        for (reply, expected) in [
            (Value::Nil, ScriptValue::Null),
            (Value::Int(-7), ScriptValue::Integer(-7)),
            (Value::Boolean(true), ScriptValue::Integer(1)),
            (Value::Boolean(false), ScriptValue::Integer(0)),
            (Value::Double(0.1 + 0.2), bytes("0.30000000000000004")),
            (Value::Okay, bytes("OK")),
            (simple("PONG"), bytes("PONG")),
            (
                Value::BigNumber(b"12345678901234567890".to_vec()),
                bytes("12345678901234567890"),
            ),
            (
                Value::Map(vec![(simple("a"), Value::Int(1))]),
                ScriptValue::List(vec![bytes("a"), ScriptValue::Integer(1)]),
            ),
            (
                Value::Set(vec![Value::Array(vec![Value::Nil])]),
                ScriptValue::List(vec![ScriptValue::List(vec![ScriptValue::Null])]),
            ),
        ] {
            assert_eq!(value(reply.clone()).ok(), Some(expected), "{reply:?}");
        }
    }

    #[test]
    fn hashes_are_kept_for_sources_of_the_program_alone() {
        const SOURCE: &str = "return 'kept'";
        let kept = hash_of(&Script::new(SOURCE));
        assert!(Arc::ptr_eq(&kept, &hash_of(&Script::new(SOURCE))));
        let made = hash_of(&Script::new(SOURCE.to_owned()));
        assert_eq!(kept, made);
        assert!(!Arc::ptr_eq(&kept, &made));
    }

    #[test]
    fn errors_of_scripts_quote_nothing_that_they_were_given() {
        for (code, detail) in [
            ("hunter2", "hunter2 is not welcome"),
            ("ERR", "user_script:3: hunter2 script: f, on @user_script:3."),
            ("WRONGTYPE", "hunter2"),
            (
                "ERR",
                "Error compiling script (new function): user_script:1: '=' expected near 'hunter2'",
            ),
        ] {
            let driver = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
            let error = raised(crate::error::of(driver, false));
            assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
        }
    }
}
