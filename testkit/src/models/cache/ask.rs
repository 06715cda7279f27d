//! Doing a step to a cache, and its answer in the model's form.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use infra_core::cache::{
    Batch, BatchOutcome, Cache, Check, CompareAndSet, Expected, Operation, OperationResult, Scored,
};
use infra_core::{Error, Result, Ttl};

use super::model::{Answer, Value};
use super::steps::{Condition, Key, Life, Step};

pub(super) async fn ask(cache: &dyn Cache, namespace: &str, unit: Duration, step: &Step) -> Answer {
    let place = Place {
        cache,
        namespace,
        unit,
    };
    place.ask(step).await.map_err(|error| error.kind())
}

struct Place<'a> {
    cache: &'a dyn Cache,
    namespace: &'a str,
    unit: Duration,
}

/// The arguments of an operation.
fn bytes(words: &[&'static str]) -> Vec<Bytes> {
    words
        .iter()
        .map(|word| Bytes::from_static(word.as_bytes()))
        .collect()
}

fn scored(members: &[(&'static str, f64)]) -> Vec<Scored> {
    members
        .iter()
        .map(|(member, score)| Scored::new(*member, *score))
        .collect()
}

fn fields(fields: &[(&'static str, &'static str)]) -> Vec<(&'static str, Bytes)> {
    fields
        .iter()
        .map(|(field, value)| (*field, Bytes::from_static(value.as_bytes())))
        .collect()
}

/// The answers of operations.
fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(count: u64) -> Value {
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

fn pairs(members: Vec<Scored>) -> Value {
    let plain = members.iter().map(|scored| (text(&scored.member), scored.score));
    Value::Scored(plain.collect())
}

impl Place<'_> {
    fn key(&self, key: Key) -> String {
        format!("{}{key}", self.namespace)
    }

    fn ttl(&self, life: Life) -> Ttl {
        life.map_or(Ttl::Never, |units| Ttl::After(self.unit * u32::from(units)))
    }

    async fn ask(&self, step: &Step) -> Result<Value> {
        match step {
            Step::HashGet(..)
            | Step::HashGetAll(_)
            | Step::HashSet(..)
            | Step::HashDelete(..)
            | Step::HashExists(..)
            | Step::HashLen(_)
            | Step::HashIncrBy(..) => self.hash(step).await,
            Step::SetAdd(..)
            | Step::SetRemove(..)
            | Step::SetMembers(_)
            | Step::SetContains(..)
            | Step::SetLen(_) => self.set(step).await,
            Step::SortedAdd(..)
            | Step::SortedRemove(..)
            | Step::SortedRange(..)
            | Step::SortedRemoveByRank(..)
            | Step::SortedByScore(..)
            | Step::SortedCount(..)
            | Step::SortedScore(..)
            | Step::SortedLen(_) => self.sorted(step).await,
            Step::Batch(conditions, steps) => self.batch(conditions, steps).await,
            Step::Delete(_)
            | Step::Exists(_)
            | Step::Expire(..)
            | Step::Left(_)
            | Step::Scan(..)
            | Step::DeletePrefix(_)
            | Step::Wait(_) => self.keys(step).await,
            _ => self.string(step).await,
        }
    }

    async fn keys(&self, step: &Step) -> Result<Value> {
        let cache = self.cache;
        Ok(match step {
            Step::Delete(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
                let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                number(cache.delete(&keys).await?)
            }
            Step::Exists(key) => Value::Flag(cache.exists(&self.key(key)).await?),
            Step::Expire(key, life) => Value::Flag(cache.expire(&self.key(key), self.ttl(*life)).await?),
            Step::Left(key) => Value::Left(cache.ttl(&self.key(key)).await?.map(Ttl::duration)),
            Step::Scan(prefix, limit) => Value::Keys(self.scan(prefix, *limit).await?),
            Step::DeletePrefix(prefix) => number(cache.delete_prefix(&self.key(prefix)).await?),
            other => return Err(misplaced(other)),
        })
    }

    /// Every page.
    async fn scan(&self, prefix: &'static str, limit: usize) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = self
                .cache
                .scan(&self.key(prefix), cursor.as_deref(), limit)
                .await?;
            let names = page
                .keys
                .iter()
                .map(|key| key.strip_prefix(self.namespace).unwrap_or(key));
            found.extend(names.map(str::to_owned));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    async fn string(&self, step: &Step) -> Result<Value> {
        let cache = self.cache;
        Ok(match step {
            Step::Get(key) => Value::Text(cache.get(&self.key(key)).await?.as_ref().map(text)),
            Step::GetMany(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
                let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                let values = cache.get_many(&keys).await?;
                Value::Texts(values.iter().map(|value| value.as_ref().map(text)).collect())
            }
            Step::Set(key, value, life) => {
                cache
                    .set(&self.key(key), (*value).into(), self.ttl(*life))
                    .await?;
                Value::Done
            }
            Step::SetMany(entries, life) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| (self.key(key), *value))
                    .collect();
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| (key.as_str(), Bytes::from(*value)))
                    .collect();
                let results = cache.set_many(&entries, self.ttl(*life)).await?;
                results.into_iter().collect::<Result<Vec<()>>>()?;
                Value::Done
            }
            Step::SetIfAbsent(key, value, life) => {
                let ttl = self.ttl(*life);
                Value::Flag(cache.set_if_absent(&self.key(key), (*value).into(), ttl).await?)
            }
            Step::GetSet(key, value, life) => {
                let before = cache
                    .get_set(&self.key(key), (*value).into(), self.ttl(*life))
                    .await?;
                Value::Text(before.as_ref().map(text))
            }
            Step::CompareAndSet(key, expected, value, life) => {
                let expected = expected.map_or(Expected::Absent, |value| Expected::Value(value.into()));
                let (key, ttl) = (self.key(key), self.ttl(*life));
                match cache
                    .compare_and_set(&key, expected, (*value).into(), ttl)
                    .await?
                {
                    CompareAndSet::Mismatch { current } => Value::Swapped(Err(current.as_ref().map(text))),
                    _ => Value::Swapped(Ok(())),
                }
            }
            Step::CompareAndDelete(key, value) => {
                Value::Flag(cache.compare_and_delete(&self.key(key), (*value).into()).await?)
            }
            Step::IncrBy(key, by) => Value::Number(cache.incr_by(&self.key(key), *by).await?),
            other => return Err(misplaced(other)),
        })
    }

    async fn hash(&self, step: &Step) -> Result<Value> {
        let cache = self.cache;
        Ok(match step {
            Step::HashGet(key, field) => {
                Value::Text(cache.hash_get(&self.key(key), field).await?.as_ref().map(text))
            }
            Step::HashGetAll(key) => {
                let all = cache.hash_get_all(&self.key(key)).await?;
                Value::Fields(
                    all.into_iter()
                        .map(|(field, value)| (field, text(&value)))
                        .collect(),
                )
            }
            Step::HashSet(key, new) => number(cache.hash_set(&self.key(key), &fields(new)).await?),
            Step::HashDelete(key, fields) => number(cache.hash_delete(&self.key(key), fields).await?),
            Step::HashExists(key, field) => Value::Flag(cache.hash_exists(&self.key(key), field).await?),
            Step::HashLen(key) => number(cache.hash_len(&self.key(key)).await?),
            Step::HashIncrBy(key, field, by) => {
                Value::Number(cache.hash_incr_by(&self.key(key), field, *by).await?)
            }
            other => return Err(misplaced(other)),
        })
    }

    async fn set(&self, step: &Step) -> Result<Value> {
        let cache = self.cache;
        Ok(match step {
            Step::SetAdd(key, members) => number(cache.set_add(&self.key(key), &bytes(members)).await?),
            Step::SetRemove(key, members) => number(cache.set_remove(&self.key(key), &bytes(members)).await?),
            Step::SetMembers(key) => {
                let members = cache.set_members(&self.key(key)).await?;
                Value::Members(members.iter().map(text).collect())
            }
            Step::SetContains(key, member) => {
                Value::Flag(cache.set_contains(&self.key(key), (*member).into()).await?)
            }
            Step::SetLen(key) => number(cache.set_len(&self.key(key)).await?),
            other => return Err(misplaced(other)),
        })
    }

    async fn sorted(&self, step: &Step) -> Result<Value> {
        let cache = self.cache;
        Ok(match step {
            Step::SortedAdd(key, members) => {
                number(cache.sorted_add(&self.key(key), &scored(members)).await?)
            }
            Step::SortedRemove(key, members) => {
                number(cache.sorted_remove(&self.key(key), &bytes(members)).await?)
            }
            Step::SortedRange(key, range) => pairs(cache.sorted_range(&self.key(key), *range).await?),
            Step::SortedRemoveByRank(key, range) => {
                number(cache.sorted_remove_by_rank(&self.key(key), *range).await?)
            }
            Step::SortedByScore(key, range) => {
                pairs(cache.sorted_range_by_score(&self.key(key), *range).await?)
            }
            Step::SortedCount(key, range) => number(cache.sorted_count(&self.key(key), *range).await?),
            Step::SortedScore(key, member) => {
                Value::Score(cache.sorted_score(&self.key(key), (*member).into()).await?)
            }
            Step::SortedLen(key) => number(cache.sorted_len(&self.key(key)).await?),
            other => return Err(misplaced(other)),
        })
    }

    async fn batch(&self, conditions: &[Condition], steps: &[Step]) -> Result<Value> {
        let mut batch = Batch::new();
        for condition in conditions {
            batch = batch.when(match condition {
                Condition::Exists(key) => Check::Exists(self.key(key)),
                Condition::Absent(key) => Check::Absent(self.key(key)),
                Condition::Equals(key, value) => Check::Equals(self.key(key), (*value).into()),
            });
        }
        for step in steps {
            batch = batch.then(self.operation(step)?);
        }
        Ok(Value::Batch(match self.cache.atomically(batch).await? {
            BatchOutcome::Refused { check } => Err(check),
            BatchOutcome::Applied(results) => {
                let values = steps
                    .iter()
                    .zip(results)
                    .map(|(step, result)| value(step, result));
                Ok(values.collect())
            }
            other => return Err(Error::invalid_argument(format!("an unknown outcome: {other:?}"))),
        }))
    }

    fn operation(&self, step: &Step) -> Result<Operation> {
        Ok(match step {
            Step::Set(key, value, life) => Operation::Set(self.key(key), (*value).into(), self.ttl(*life)),
            Step::Get(key) => Operation::Get(self.key(key)),
            Step::IncrBy(key, by) => Operation::IncrBy(self.key(key), *by),
            Step::Delete(keys) => Operation::Delete(self.key(keys.first().copied().unwrap_or_default())),
            Step::Expire(key, life) => Operation::Expire(self.key(key), self.ttl(*life)),
            Step::HashSet(key, new) => {
                let owned = fields(new)
                    .into_iter()
                    .map(|(field, value)| (field.to_owned(), value));
                Operation::HashSet(self.key(key), owned.collect())
            }
            Step::SetAdd(key, members) => Operation::SetAdd(self.key(key), bytes(members)),
            Step::SetRemove(key, members) => Operation::SetRemove(self.key(key), bytes(members)),
            Step::SortedAdd(key, members) => Operation::SortedAdd(self.key(key), scored(members)),
            Step::SortedRemoveByRank(key, range) => Operation::SortedRemoveByRank(self.key(key), *range),
            other => return Err(misplaced(other)),
        })
    }
}

/// The result of a batch's step in the form of the operation of the same name.
fn value(step: &Step, result: OperationResult) -> Value {
    match (step, result) {
        (Step::Expire(..), OperationResult::Number(number)) => Value::Flag(number == 1),
        (_, OperationResult::Number(number)) => Value::Number(number),
        (_, OperationResult::Value(bytes)) => Value::Text(bytes.as_ref().map(text)),
        _ => Value::Done,
    }
}

fn misplaced(step: &Step) -> Error {
    Error::invalid_argument(format!("{step:?} is no step of this kind"))
}
