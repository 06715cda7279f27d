//! Keys of any type.

use std::collections::BinaryHeap;
use std::sync::Arc;

use async_trait::async_trait;
use infra_core::cache::{Keys, ScanPage};
use infra_core::{Error, Result, Ttl};

use super::store::{Key, deadline};
use super::{MemoryCache, run};

/// Marks a scan's cursor; the last key of the page follows.
const CURSOR: &str = "after:";

#[async_trait]
impl Keys for MemoryCache {
    async fn delete(&self, keys: &[&str]) -> Result<u64> {
        run("delete", || {
            self.check_keys(keys)?;
            let store = self.reached()?;
            let there = keys.iter().filter(|key| store.slot(&self.prefixed(key)).remove());
            Ok(there.count() as u64)
        })
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        run("exists", || {
            let key = self.key(key)?;
            Ok(self.reached()?.read(&key).is_some())
        })
    }

    async fn expire(&self, key: &str, ttl: Ttl) -> Result<bool> {
        run("expire", || {
            let key = self.key(key)?;
            ttl.check(self.limits())?;
            Ok(self.reached()?.slot(&key).expire(deadline(ttl)))
        })
    }

    async fn ttl(&self, key: &str) -> Result<Option<Ttl>> {
        run("ttl", || {
            let key = self.key(key)?;
            Ok(self.reached()?.read(&key).map(|entry| entry.ttl()))
        })
    }

    /// Pages are in the order of the keys' bytes, and a page costs one walk over all keys of the cache.
    async fn scan(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<ScanPage> {
        run("scan", || {
            self.check_open()?;
            if limit == 0 {
                return Err(Error::invalid_argument(
                    "a page of 0 keys would never end; ask for at least 1",
                ));
            }
            let after = cursor.map(|cursor| self.cursor_key(prefix, cursor)).transpose()?;
            self.page(prefix, after.as_deref(), limit)
        })
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        run("delete_prefix", || {
            self.check_open()?;
            if prefix.is_empty() {
                return Err(Error::invalid_argument(
                    "an empty prefix would delete every key; give at least one byte",
                ));
            }
            let prefix = self.prefixed(prefix);
            let store = self.reached()?;
            let found: Vec<_> = store
                .live_keys()
                .filter(|key| key.starts_with(&*prefix))
                .collect();
            let there = found.iter().filter(|key| store.slot(key).remove());
            Ok(there.count() as u64)
        })
    }
}

impl MemoryCache {
    /// The key, with this cache's prefix, that a cursor stands behind.
    fn cursor_key(&self, prefix: &str, cursor: &str) -> Result<String> {
        cursor
            .strip_prefix(CURSOR)
            .filter(|key| key.starts_with(prefix))
            .map(|key| self.prefixed(key).into_owned())
            .ok_or_else(|| {
                Error::invalid_argument(
                    "the cursor did not come from a scan of this prefix; begin again without one",
                )
            })
    }

    /// The `limit` least keys behind `after`. The order makes the cursor hold when keys come and go between pages.
    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ScanPage> {
        let prefix = self.prefixed(prefix);
        let mut least: BinaryHeap<Arc<Key>> = BinaryHeap::new();
        let mut more = false;
        for key in self.reached()?.live_keys() {
            if !key.starts_with(&*prefix) || after.is_some_and(|after| **key <= *after) {
                continue;
            }
            least.push(key);
            if least.len() > limit {
                more = true;
                least.pop();
            }
        }
        let keys: Vec<String> = least
            .into_sorted_vec()
            .iter()
            .map(|key| key[self.prefix.len()..].to_owned())
            .collect();
        let cursor = keys.last().filter(|_| more).map(|last| format!("{CURSOR}{last}"));
        Ok(ScanPage::new(keys, cursor))
    }
}
