//! Calls on a cache.

use bytes::Bytes;
use infra_core::cache::{CompareAndSet, Expected, KeyValue};
use infra_core::{Error, ErrorKind, Result, Ttl};

use super::{Worker, conclude};
use crate::linearizability::register::{RegisterAnswer, RegisterOperation};

impl Worker<dyn KeyValue, RegisterOperation, RegisterAnswer> {
    /// One call; what this worker believes to be there after it.
    pub(super) async fn cache_call(&mut self, known: Option<i64>) -> Option<i64> {
        use RegisterOperation::{
            CompareAndDelete, CompareAndSet, Delete, Get, GetSet, Increment, Set, SetIfAbsent,
        };
        let value = i64::try_from(self.fresh()).unwrap_or(i64::MAX) * 1_000;
        let operation = match self.random.u8(..16) {
            0..4 => Get,
            4 => Set(value),
            5 => SetIfAbsent(value),
            6 => GetSet(value),
            7..11 => CompareAndSet(known, value),
            11 => Delete,
            12 => CompareAndDelete(known.unwrap_or(value)),
            _ => Increment(1),
        };
        let key = self.key();
        let call = self.recorder.begin(self.number, key.clone(), operation);
        let result = apply(&*self.client, &key, operation).await;
        let next = match &result {
            Ok(RegisterAnswer::Value(held)) => *held,
            Ok(RegisterAnswer::Sum(sum)) => Some(*sum),
            _ => known,
        };
        conclude(call, result, |answer| answer);
        next
    }
}

async fn apply(cache: &dyn KeyValue, key: &str, operation: RegisterOperation) -> Result<RegisterAnswer> {
    use RegisterAnswer::{Done, Sum, Value, Whether};
    let never = Ttl::Never;
    Ok(match operation {
        RegisterOperation::Get => Value(number(cache.get(key).await?)?),
        RegisterOperation::Set(value) => cache.set(key, text(value), never).await.map(|()| Done)?,
        RegisterOperation::SetIfAbsent(value) => Whether(cache.set_if_absent(key, text(value), never).await?),
        RegisterOperation::GetSet(value) => Value(number(cache.get_set(key, text(value), never).await?)?),
        RegisterOperation::CompareAndSet(expected, value) => {
            let expected = expected.map_or(Expected::Absent, |held| Expected::Value(text(held)));
            match cache.compare_and_set(key, expected, text(value), never).await? {
                CompareAndSet::Stored => Done,
                CompareAndSet::Mismatch { current } => Value(number(current)?),
                other => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("an answer new to this workload: {other:?}"),
                    ));
                }
            }
        }
        RegisterOperation::Delete => Whether(cache.delete(&[key]).await? > 0),
        RegisterOperation::CompareAndDelete(held) => {
            Whether(cache.compare_and_delete(key, text(held)).await?)
        }
        RegisterOperation::Increment(difference) => Sum(cache.incr_by(key, difference).await?),
    })
}

fn text(value: i64) -> Bytes {
    value.to_string().into()
}

fn number(value: Option<Bytes>) -> Result<Option<i64>> {
    let parse = |bytes: Bytes| {
        std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.parse().ok())
    };
    let wrong = || {
        Error::new(
            ErrorKind::DataCorrupted,
            "a value that no call of this workload wrote",
        )
    };
    value.map(|bytes| parse(bytes).ok_or_else(wrong)).transpose()
}
