//! A cache that does one thing wrong, on command.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use infra_core::cache::{
    Batch, BatchOutcome, Bloom, BloomOptions, CompareAndSet, Expected, Hashes, KeyValue, Keys, RankRange,
    ScanPage, ScoreBound, ScoreRange, Scored, Script, ScriptValue, Scripts, Sets, SortedSets,
};
use infra_core::capability::Capabilities;
use infra_core::coordination::{LockGuard, LockOptions, Locks};
use infra_core::{Backend, Result, Ttl, async_trait};
use infra_memory::MemoryCache;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twist {
    ForgetsTimeToLive,
    KeepsTimeToLiveOnOverwrite,
    LosesTimeToLiveOnIncrement,
    OverwritesWhatIsThere,
    TakesPrefixesForPatterns,
    CountsOldFieldsAsNew,
    ForgetsOneOfManyFields,
    CountsOldMembersAsNew,
    ReversesTies,
    TakesOpenEndsForClosed,
    CountsRanksFromOne,
    TearsBatches,
    IgnoresConditions,
}

#[derive(Debug)]
pub(crate) struct Twisted {
    inner: MemoryCache,
    twist: Twist,
}

impl Twisted {
    pub(crate) fn new(twist: Twist) -> Self {
        Self {
            inner: MemoryCache::new(),
            twist,
        }
    }

    fn is(&self, twist: Twist) -> bool {
        self.twist == twist
    }

    fn closed(&self, mut range: ScoreRange) -> ScoreRange {
        if self.is(Twist::TakesOpenEndsForClosed) {
            for bound in [&mut range.min, &mut range.max] {
                if let ScoreBound::Excluded(score) = *bound {
                    *bound = ScoreBound::Included(score);
                }
            }
        }
        range
    }
}

#[async_trait]
impl Backend for Twisted {
    fn backend(&self) -> &'static str {
        "twisted"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Keys for Twisted {
    async fn delete(&self, keys: &[&str]) -> Result<u64> {
        self.inner.delete(keys).await
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        self.inner.exists(key).await
    }

    async fn expire(&self, key: &str, ttl: Ttl) -> Result<bool> {
        self.inner.expire(key, ttl).await
    }

    async fn ttl(&self, key: &str) -> Result<Option<Ttl>> {
        self.inner.ttl(key).await
    }

    async fn scan(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<ScanPage> {
        self.inner.scan(prefix, cursor, limit).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        if self.is(Twist::TakesPrefixesForPatterns) {
            return self
                .inner
                .delete_prefix(prefix.trim_end_matches(['*', '%']))
                .await;
        }
        self.inner.delete_prefix(prefix).await
    }
}

#[async_trait]
impl KeyValue for Twisted {
    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        self.inner.get_many(keys).await
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<()> {
        let ttl = match self.twist {
            Twist::ForgetsTimeToLive => Ttl::Never,
            Twist::KeepsTimeToLiveOnOverwrite if ttl == Ttl::Never => {
                self.inner.ttl(key).await?.unwrap_or(ttl)
            }
            _ => ttl,
        };
        self.inner.set(key, value, ttl).await
    }

    async fn set_many(&self, entries: &[(&str, Bytes)], ttl: Ttl) -> Result<Vec<Result<()>>> {
        self.inner.set_many(entries, ttl).await
    }

    async fn set_if_absent(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<bool> {
        let stored = self.inner.set_if_absent(key, value.clone(), ttl).await?;
        if !stored && self.is(Twist::OverwritesWhatIsThere) {
            self.inner.set(key, value, ttl).await?;
        }
        Ok(stored)
    }

    async fn get_set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<Option<Bytes>> {
        self.inner.get_set(key, value, ttl).await
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Expected,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<CompareAndSet> {
        self.inner.compare_and_set(key, expected, value, ttl).await
    }

    async fn compare_and_delete(&self, key: &str, expected: Bytes) -> Result<bool> {
        self.inner.compare_and_delete(key, expected).await
    }

    async fn incr_by(&self, key: &str, difference: i64) -> Result<i64> {
        let sum = self.inner.incr_by(key, difference).await?;
        if self.is(Twist::LosesTimeToLiveOnIncrement) {
            self.inner.expire(key, Ttl::Never).await?;
        }
        Ok(sum)
    }
}

#[async_trait]
impl Hashes for Twisted {
    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>> {
        self.inner.hash_get(key, field).await
    }

    async fn hash_get_all(&self, key: &str) -> Result<BTreeMap<String, Bytes>> {
        self.inner.hash_get_all(key).await
    }

    async fn hash_set(&self, key: &str, fields: &[(&str, Bytes)]) -> Result<u64> {
        if self.is(Twist::ForgetsOneOfManyFields) && fields.len() > 2 {
            return self.inner.hash_set(key, &fields[..2]).await;
        }
        let new = self.inner.hash_set(key, fields).await?;
        Ok(if self.is(Twist::CountsOldFieldsAsNew) {
            fields.len() as u64
        } else {
            new
        })
    }

    async fn hash_delete(&self, key: &str, fields: &[&str]) -> Result<u64> {
        self.inner.hash_delete(key, fields).await
    }

    async fn hash_exists(&self, key: &str, field: &str) -> Result<bool> {
        self.inner.hash_exists(key, field).await
    }

    async fn hash_len(&self, key: &str) -> Result<u64> {
        self.inner.hash_len(key).await
    }

    async fn hash_incr_by(&self, key: &str, field: &str, difference: i64) -> Result<i64> {
        self.inner.hash_incr_by(key, field, difference).await
    }
}

#[async_trait]
impl Sets for Twisted {
    async fn set_add(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        let new = self.inner.set_add(key, members).await?;
        Ok(if self.is(Twist::CountsOldMembersAsNew) {
            members.len() as u64
        } else {
            new
        })
    }

    async fn set_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        self.inner.set_remove(key, members).await
    }

    async fn set_members(&self, key: &str) -> Result<Vec<Bytes>> {
        self.inner.set_members(key).await
    }

    async fn set_contains(&self, key: &str, member: Bytes) -> Result<bool> {
        self.inner.set_contains(key, member).await
    }

    async fn set_len(&self, key: &str) -> Result<u64> {
        self.inner.set_len(key).await
    }
}

#[async_trait]
impl SortedSets for Twisted {
    async fn sorted_add(&self, key: &str, members: &[Scored]) -> Result<u64> {
        self.inner.sorted_add(key, members).await
    }

    async fn sorted_range(&self, key: &str, mut range: RankRange) -> Result<Vec<Scored>> {
        if self.is(Twist::CountsRanksFromOne) && range.start > 0 {
            range.start -= 1;
        }
        let mut members = self.inner.sorted_range(key, range).await?;
        if self.is(Twist::ReversesTies) {
            for place in 1..members.len() {
                if members[place - 1].score == members[place].score {
                    members.swap(place - 1, place);
                }
            }
        }
        Ok(members)
    }

    async fn sorted_range_by_score(&self, key: &str, range: ScoreRange) -> Result<Vec<Scored>> {
        self.inner.sorted_range_by_score(key, self.closed(range)).await
    }

    async fn sorted_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        self.inner.sorted_remove(key, members).await
    }

    async fn sorted_remove_by_rank(&self, key: &str, range: RankRange) -> Result<u64> {
        self.inner.sorted_remove_by_rank(key, range).await
    }

    async fn sorted_len(&self, key: &str) -> Result<u64> {
        self.inner.sorted_len(key).await
    }

    async fn sorted_count(&self, key: &str, range: ScoreRange) -> Result<u64> {
        self.inner.sorted_count(key, self.closed(range)).await
    }

    async fn sorted_score(&self, key: &str, member: Bytes) -> Result<Option<f64>> {
        self.inner.sorted_score(key, member).await
    }
}

#[async_trait]
impl Bloom for Twisted {
    async fn bloom_reserve(&self, key: &str, options: BloomOptions) -> Result<()> {
        self.inner.bloom_reserve(key, options).await
    }

    async fn bloom_add(&self, key: &str, item: &[u8]) -> Result<bool> {
        self.inner.bloom_add(key, item).await
    }

    async fn bloom_contains(&self, key: &str, item: &[u8]) -> Result<bool> {
        self.inner.bloom_contains(key, item).await
    }
}

#[async_trait]
impl Scripts for Twisted {
    async fn atomically(&self, mut batch: Batch) -> Result<BatchOutcome> {
        if self.is(Twist::IgnoresConditions) {
            batch.checks.clear();
        }
        let done = self.inner.atomically(batch.clone()).await;
        if done.is_err() && self.is(Twist::TearsBatches) {
            let first = batch.operations.first().cloned();
            let alone = first.into_iter().fold(Batch::new(), Batch::then);
            self.inner.atomically(alone).await.ok();
        }
        done
    }

    async fn run_script(&self, script: &Script, keys: &[&str], arguments: &[Bytes]) -> Result<ScriptValue> {
        self.inner.run_script(script, keys, arguments).await
    }
}

#[async_trait]
impl Locks for Twisted {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        self.inner.acquire(key, options).await
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        self.inner.try_acquire(key, ttl).await
    }
}
