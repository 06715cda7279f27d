//! Locks, on the lock table that every provider of this crate uses. Their names live apart from the cache's keys.

use std::time::Duration;

use async_trait::async_trait;
use infra_core::Result;
use infra_core::coordination::{LockGuard, LockOptions, Locks};

use super::MemoryCache;

#[async_trait]
impl Locks for MemoryCache {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        self.locks.acquire(key, options).await
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        self.locks.try_acquire(key, ttl)
    }
}
