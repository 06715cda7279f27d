//! Hashes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::Result;
use infra_core::cache::Hashes;

use super::store::Slot;
use super::value::Hash;
use super::{MemoryCache, run, strings};

#[async_trait]
impl Hashes for MemoryCache {
    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>> {
        run("hash_get", || {
            let key = self.key(key)?;
            let found = self
                .reached()?
                .look(&key, |hash: &Hash| hash.fields().get(field).cloned());
            Ok(found?.flatten())
        })
    }

    async fn hash_get_all(&self, key: &str) -> Result<BTreeMap<String, Bytes>> {
        run("hash_get_all", || {
            let key = self.key(key)?;
            let found = self.reached()?.look(&key, |hash: &Hash| hash.fields().clone());
            Ok(found?.unwrap_or_default())
        })
    }

    async fn hash_set(&self, key: &str, fields: &[(&str, Bytes)]) -> Result<u64> {
        run("hash_set", || {
            let key = self.key(key)?;
            self.check_fields(fields)?;
            set(&self.reached()?.slot(&key), fields, |_, _| {})
        })
    }

    async fn hash_delete(&self, key: &str, fields: &[&str]) -> Result<u64> {
        run("hash_delete", || {
            let key = self.key(key)?;
            self.reached()?.slot(&key).change(0, |hash: &mut Hash| {
                let there = fields.iter().filter(|field| hash.remove(field).is_some());
                Ok(there.count() as u64)
            })
        })
    }

    async fn hash_exists(&self, key: &str, field: &str) -> Result<bool> {
        run("hash_exists", || {
            let key = self.key(key)?;
            let found = self
                .reached()?
                .look(&key, |hash: &Hash| hash.fields().contains_key(field));
            Ok(found?.unwrap_or(false))
        })
    }

    async fn hash_len(&self, key: &str) -> Result<u64> {
        run("hash_len", || {
            let key = self.key(key)?;
            let found = self.reached()?.look(&key, Hash::len);
            Ok(found?.unwrap_or(0) as u64)
        })
    }

    async fn hash_incr_by(&self, key: &str, field: &str, difference: i64) -> Result<i64> {
        run("hash_incr_by", || {
            let key = self.key(key)?;
            self.limits().check_value("field name", field.len())?;
            let growth = field.len() + Hash::FIELD_BYTES + i64::MIN.to_string().len();
            self.reached()?.slot(&key).change(growth, |hash: &mut Hash| {
                let current = hash.fields().get(field).map_or(&b"0"[..], |number| number);
                let sum = strings::add(current, difference)
                    .map_err(|error| error.context(format_args!("field {field:?} of key {key:?}")))?;
                hash.insert(field, sum.to_string().into());
                Ok(sum)
            })
        })
    }
}

impl MemoryCache {
    pub(super) fn check_fields<F: AsRef<str>>(&self, fields: &[(F, Bytes)]) -> Result<()> {
        for (field, value) in fields {
            self.limits().check_value("field name", field.as_ref().len())?;
            self.limits().check_value("value", value.len())?;
        }
        Ok(())
    }
}

/// Sets fields, tells `changed` what each held before, and returns how many are new.
pub(super) fn set<F: AsRef<str>>(
    slot: &Slot<'_>,
    fields: &[(F, Bytes)],
    mut changed: impl FnMut(&str, Option<Bytes>),
) -> Result<u64> {
    let growth = fields
        .iter()
        .map(|(field, value)| field.as_ref().len() + value.len() + Hash::FIELD_BYTES)
        .sum();
    slot.change(growth, |hash: &mut Hash| {
        let mut new = 0;
        for (field, value) in fields {
            let before = hash.insert(field.as_ref(), value.clone());
            new += u64::from(before.is_none());
            changed(field.as_ref(), before);
        }
        Ok(new)
    })
}
