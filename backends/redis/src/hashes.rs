//! Hashes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::Result;
use infra_core::cache::Hashes;
use redis::Value;

use crate::cache::{RedisCache, command, run};
use crate::client::unexpected;
use crate::reply;

#[async_trait]
impl Hashes for RedisCache {
    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>> {
        run("hash_get", async {
            let key = self.key(key)?;
            reply::value(self.ask(command("HGET", &key).arg(field)).await?)
        })
        .await
    }

    /// # Errors
    /// [`DataCorrupted`](infra_core::ErrorKind::DataCorrupted) when some other program stored a field whose name is not UTF-8.
    async fn hash_get_all(&self, key: &str) -> Result<BTreeMap<String, Bytes>> {
        run("hash_get_all", async {
            let key = self.key(key)?;
            match reply::good(self.ask(&command("HGETALL", &key)).await?)? {
                Value::Map(fields) => fields
                    .into_iter()
                    .map(|(field, value)| Ok((reply::text(field)?, reply::bytes(value)?)))
                    .collect(),
                _ => Err(unexpected()),
            }
        })
        .await
    }

    async fn hash_set(&self, key: &str, fields: &[(&str, Bytes)]) -> Result<u64> {
        run("hash_set", async {
            let key = self.key(key)?;
            self.check_fields(fields.iter().map(|(field, value)| (*field, value)))?;
            if fields.is_empty() {
                return Ok(0);
            }
            let mut set = command("HSET", &key);
            for (field, value) in fields {
                set.arg(*field).arg(&value[..]);
            }
            reply::count(self.ask(&set).await?)
        })
        .await
    }

    async fn hash_delete(&self, key: &str, fields: &[&str]) -> Result<u64> {
        run("hash_delete", async {
            let key = self.key(key)?;
            if fields.is_empty() {
                return Ok(0);
            }
            reply::count(self.ask(command("HDEL", &key).arg(fields)).await?)
        })
        .await
    }

    async fn hash_exists(&self, key: &str, field: &str) -> Result<bool> {
        run("hash_exists", async {
            let key = self.key(key)?;
            reply::flag(self.ask(command("HEXISTS", &key).arg(field)).await?)
        })
        .await
    }

    async fn hash_len(&self, key: &str) -> Result<u64> {
        run("hash_len", async {
            let key = self.key(key)?;
            reply::count(self.ask(&command("HLEN", &key)).await?)
        })
        .await
    }

    async fn hash_incr_by(&self, key: &str, field: &str, difference: i64) -> Result<i64> {
        run("hash_incr_by", async {
            let server_key = self.key(key)?;
            self.limits().check_value("field", field.len())?;
            let mut increment = command("HINCRBY", &server_key);
            increment.arg(field).arg(difference);
            let sum = self.ask_once(&increment).await;
            let context =
                |error: infra_core::Error| error.context(format_args!("field {field:?} of key {key:?}"));
            reply::number(sum.map_err(context)?)
        })
        .await
    }
}

impl RedisCache {
    /// Refuses fields and values that are larger than the limit.
    pub(crate) fn check_fields<'f>(&self, fields: impl Iterator<Item = (&'f str, &'f Bytes)>) -> Result<()> {
        for (field, value) in fields {
            self.limits().check_value("field", field.len())?;
            self.limits().check_value("value", value.len())?;
        }
        Ok(())
    }
}
