//! Strings.

use std::future::ready;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::cache::{CompareAndSet, Expected, KeyValue};
use infra_core::{Result, Ttl};
use redis::{Cmd, Value};

use crate::cache::{RedisCache, at, command, run, unknown_variant};
use crate::client::{Repeat, unexpected};
use crate::reply;
use crate::script::{Invocation, Script};

/// Stores `ARGV[3]` if what is there is what is expected: nothing (`ARGV[1]` is 0), or `ARGV[2]`. Returns nothing when it did, else
/// a list with what is there instead.
static COMPARE_AND_SET: Script = Script::new(
    "local found = redis.call('GET', KEYS[1])
     local same
     if ARGV[1] == '0' then same = not found else same = found == ARGV[2] end
     if not same then return {found} end
     if ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
     return 1",
);

/// Deletes the key if it holds `ARGV[1]`.
static COMPARE_AND_DELETE: Script = Script::new(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
     return 0",
);

#[async_trait]
impl KeyValue for RedisCache {
    // Written out, so that a value that is near does not pay for a future that could ask the server.
    fn get<'s, 'k, 'f>(
        &'s self,
        key: &'k str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>>> + Send + 'f>>
    where
        's: 'f,
        'k: 'f,
        Self: 'f,
    {
        match self.near(key) {
            Some(kept) => Box::pin(ready(Ok(kept))),
            None => Box::pin(run("get", async { self.string(self.key(key)?).await })),
        }
    }

    /// On a cluster there is one command for each key, at the same time.
    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        run("get_many", async {
            self.client.check_open()?;
            // Not MGET, for which a key of another type is an absent one.
            let commands: Result<Vec<Cmd>> = keys
                .iter()
                .map(|key| Ok(command("GET", &self.key(key)?)))
                .collect();
            let replies = self.client.run_each(commands?, Repeat::Harmless).await?;
            replies.into_iter().map(|reply| reply::value(reply?)).collect()
        })
        .await
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<()> {
        run("set", async {
            let key = self.key(key)?;
            self.check_value(&value, ttl)?;
            let _changing = self.changing(&key);
            reply::done(self.ask(&set(&key, &value, ttl)).await?)
        })
        .await
    }

    /// On a cluster there is one command for each entry, at the same time.
    async fn set_many(&self, entries: &[(&str, Bytes)], ttl: Ttl) -> Result<Vec<Result<()>>> {
        run("set_many", async {
            self.client.check_open()?;
            ttl.check(self.limits())?;
            let checked: Vec<Result<String>> = entries
                .iter()
                .map(|(key, value)| {
                    self.check_value(value, ttl)?;
                    self.key(key)
                })
                .collect();
            let _changing: Vec<_> = checked.iter().flatten().map(|key| self.changing(key)).collect();
            let good = checked
                .iter()
                .zip(entries)
                .filter_map(|(key, (_, value))| key.as_ref().ok().map(|key| set(key, value, ttl)));
            let mut replies = self
                .client
                .run_each(good.collect(), Repeat::Harmless)
                .await?
                .into_iter();
            let answers = checked.iter().map(|key| match key {
                Ok(_) => reply::done(replies.next().ok_or_else(unexpected)??),
                Err(refused) => Err(refused.clone()),
            });
            Ok(answers.map(|answer| answer.map_err(at("set_many"))).collect())
        })
        .await
    }

    async fn set_if_absent(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<bool> {
        run("set_if_absent", async {
            let key = self.key(key)?;
            self.check_value(&value, ttl)?;
            let _changing = self.changing(&key);
            let mut set = set(&key, &value, ttl);
            set.arg("NX");
            match self.ask_once(&set).await? {
                Value::Okay => Ok(true),
                Value::Nil => Ok(false),
                _ => Err(unexpected()),
            }
        })
        .await
    }

    async fn get_set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<Option<Bytes>> {
        run("get_set", async {
            let key = self.key(key)?;
            self.check_value(&value, ttl)?;
            let _changing = self.changing(&key);
            let mut set = set(&key, &value, ttl);
            set.arg("GET");
            reply::value(self.ask_once(&set).await?)
        })
        .await
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Expected,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<CompareAndSet> {
        run("compare_and_set", async {
            let key = self.key(key)?;
            self.check_value(&value, ttl)?;
            let _changing = self.changing(&key);
            let mut invocation = Invocation::of(&COMPARE_AND_SET, &[&key]);
            match &expected {
                Expected::Absent => invocation.arg(0).arg(""),
                Expected::Value(bytes) => invocation.arg(1).arg(&bytes[..]),
                _ => return Err(unknown_variant()),
            };
            match ttl.duration() {
                None => invocation.arg(&value[..]).arg(""),
                Some(ttl) => invocation.arg(&value[..]).arg(milliseconds(ttl)),
            };
            match self.client.invoke(&invocation, Repeat::Never).await? {
                Value::Int(_) => Ok(CompareAndSet::Stored),
                found => Ok(CompareAndSet::Mismatch {
                    current: reply::value(reply::list(found)?.pop().ok_or_else(unexpected)?)?,
                }),
            }
        })
        .await
    }

    async fn compare_and_delete(&self, key: &str, expected: Bytes) -> Result<bool> {
        run("compare_and_delete", async {
            let key = self.key(key)?;
            let _changing = self.changing(&key);
            let mut invocation = Invocation::of(&COMPARE_AND_DELETE, &[&key]);
            invocation.arg(&expected[..]);
            reply::flag(self.client.invoke(&invocation, Repeat::Never).await?)
        })
        .await
    }

    async fn incr_by(&self, key: &str, difference: i64) -> Result<i64> {
        run("incr_by", async {
            let server_key = self.key(key)?;
            let _changing = self.changing(&server_key);
            let mut command = command("INCRBY", &server_key);
            command.arg(difference);
            let sum = self.ask_once(&command).await;
            reply::number(sum.map_err(|error| error.context(format_args!("key {key:?}")))?)
        })
        .await
    }
}

/// Stores a string, with its time to live.
pub(crate) fn set(key: &str, value: &[u8], ttl: Ttl) -> Cmd {
    let mut command = command("SET", key);
    command.arg(value);
    if let Some(ttl) = ttl.duration() {
        command.arg("PX").arg(milliseconds(ttl));
    }
    command
}

/// A time to live as Redis counts it: never shorter than what was asked for.
pub(crate) fn milliseconds(ttl: std::time::Duration) -> u64 {
    u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
