//! Strings.

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::cache::{CompareAndSet, Expected, KeyValue};
use infra_core::{Error, ErrorKind, Result, Ttl};

use super::store::{Slot, deadline};
use super::{MemoryCache, run};

#[async_trait]
impl KeyValue for MemoryCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        run("get", || {
            let key = self.key(key)?;
            self.reached()?.string(&key)
        })
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        run("get_many", || {
            self.check_keys(keys)?;
            let store = self.reached()?;
            keys.iter().map(|key| store.string(&self.prefixed(key))).collect()
        })
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<()> {
        run("set", || {
            ttl.check(self.limits())?;
            self.put(key, value, ttl)
        })
    }

    async fn set_many(&self, entries: &[(&str, Bytes)], ttl: Ttl) -> Result<Vec<Result<()>>> {
        run("set_many", || {
            self.check_open()?;
            ttl.check(self.limits())?;
            // What is refused for itself is, whether the cache can be reached or not.
            let good = |(key, value): &(&str, Bytes)| self.check_entry(key, value).is_ok();
            if entries.iter().any(good) {
                self.reached()?;
            }
            Ok(())
        })?;
        let put = |(key, value): &(&str, Bytes)| run("set_many", || self.put(key, value.clone(), ttl));
        Ok(entries.iter().map(put).collect())
    }

    async fn set_if_absent(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<bool> {
        run("set_if_absent", || {
            let key = self.key(key)?;
            self.check_value(&value, ttl)?;
            let slot = self.reached()?.slot(&key);
            if slot.entry().is_some() {
                return Ok(false);
            }
            slot.put_string(value, deadline(ttl))?;
            Ok(true)
        })
    }

    async fn get_set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<Option<Bytes>> {
        run("get_set", || {
            let key = self.key(key)?;
            self.check_value(&value, ttl)?;
            let slot = self.reached()?.slot(&key);
            let before = slot.string()?;
            slot.put_string(value, deadline(ttl))?;
            Ok(before.map(|(bytes, _)| bytes))
        })
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Expected,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<CompareAndSet> {
        run("compare_and_set", || {
            let key = self.key(key)?;
            self.check_value(&value, ttl)?;
            let slot = self.reached()?.slot(&key);
            let current = slot.string()?.map(|(bytes, _)| bytes);
            let expected = match expected {
                Expected::Absent => None,
                Expected::Value(bytes) => Some(bytes),
                _ => return Err(unknown_variant()),
            };
            if current != expected {
                return Ok(CompareAndSet::Mismatch { current });
            }
            slot.put_string(value, deadline(ttl))?;
            Ok(CompareAndSet::Stored)
        })
    }

    async fn compare_and_delete(&self, key: &str, expected: Bytes) -> Result<bool> {
        run("compare_and_delete", || {
            let key = self.key(key)?;
            let slot = self.reached()?.slot(&key);
            if slot.string()?.is_none_or(|(current, _)| current != expected) {
                return Ok(false);
            }
            Ok(slot.remove())
        })
    }

    async fn incr_by(&self, key: &str, difference: i64) -> Result<i64> {
        run("incr_by", || {
            let key = self.key(key)?;
            increment(&self.reached()?.slot(&key), &key, difference)
        })
    }
}

impl MemoryCache {
    fn put(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<()> {
        self.check_open()?;
        self.check_entry(key, &value)?;
        let key = self.prefixed(key);
        self.reached()?.slot(&key).put_string(value, deadline(ttl))
    }

    fn check_entry(&self, key: &str, value: &Bytes) -> Result<()> {
        self.limits().check_key("key", key)?;
        self.limits().check_value("value", value.len())
    }

    fn check_value(&self, value: &Bytes, ttl: Ttl) -> Result<()> {
        self.limits().check_value("value", value.len())?;
        ttl.check(self.limits())
    }
}

/// Adds to the number under a key; its deadline stays.
pub(super) fn increment(slot: &Slot<'_>, key: &str, difference: i64) -> Result<i64> {
    let (current, deadline) = slot.string()?.unwrap_or((Bytes::from_static(b"0"), None));
    let sum = add(&current, difference).map_err(|error| error.context(format_args!("key {key:?}")))?;
    slot.put_string(sum.to_string().into(), deadline)?;
    Ok(sum)
}

/// The sum of a number in decimal text and a difference.
pub(super) fn add(number: &[u8], difference: i64) -> Result<i64> {
    let refused = |message| Error::new(ErrorKind::Conflict, message).without_effect();
    let number: i64 = std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| refused("the value is not a 64-bit integer in decimal text; nothing was changed"))?;
    number
        .checked_add(difference)
        .ok_or_else(|| refused("the sum would not fit into 64 bits; nothing was changed"))
}

/// What the contract may get after this backend was written is refused, not guessed.
pub(super) fn unknown_variant() -> Error {
    Error::unsupported("this variant of the argument")
}
