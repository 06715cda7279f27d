//! Locks behind the cache, shutdown, health.

use std::sync::Arc;
use std::time::Duration;

use infra_core::cache::{
    Batch, Bloom, BloomOptions, Cache, Hashes, KeyValue, Keys, RankRange, Scripts, Sets, SortedSets,
};
use infra_core::coordination::{LockOptions, Locks};
use infra_core::{Backend, ErrorKind, Ttl};

use super::{bytes, kind};
use crate::{MemoryCache, MemoryCacheConfig};

#[tokio::test(start_paused = true)]
async fn locks_exclude_within_their_scope_and_keep_their_name() {
    let cache: Arc<MemoryCache> =
        Arc::new(MemoryCache::with_config(MemoryCacheConfig::default().with_key_prefix("p:")).unwrap());
    let locks: Arc<dyn Cache> = cache.clone();
    let ttl = Duration::from_secs(5);
    let guard = locks.acquire("report", LockOptions::new(ttl)).await.unwrap();
    assert_eq!(guard.key(), "report");
    assert!(cache.try_acquire("report", ttl).await.unwrap().is_none());
    let other = cache.scoped("x").try_acquire("report", ttl).await.unwrap();
    assert!(other.is_some(), "another scope, another lock");
    assert!(
        !cache.exists("report").await.unwrap(),
        "locks are no keys of the cache"
    );
    let token = guard.fencing_token();
    guard.release().await.unwrap();
    let next = cache.try_acquire("report", ttl).await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
    assert_eq!(kind(cache.try_acquire("", ttl).await), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn after_shutdown_every_call_is_refused() {
    let cache = MemoryCache::new();
    cache.set("k", bytes("v"), Ttl::Never).await.unwrap();
    cache.health().await.unwrap();
    cache.scoped("s").shutdown(Duration::from_secs(1)).await.unwrap();
    cache.shutdown(Duration::from_secs(1)).await.unwrap();
    let ttl = Duration::from_secs(5);
    let kinds = [
        kind(cache.health().await),
        kind(cache.get("k").await),
        kind(cache.get_many(&["k"]).await),
        kind(cache.set("k", bytes("v"), Ttl::Never).await),
        kind(cache.set_many(&[], Ttl::Never).await),
        kind(cache.delete(&[]).await),
        kind(cache.scan("", None, 1).await),
        kind(cache.delete_prefix("k").await),
        kind(cache.hash_get("k", "f").await),
        kind(cache.set_add("k", &[]).await),
        kind(cache.sorted_range("k", RankRange::ALL).await),
        kind(cache.bloom_reserve("k", BloomOptions::new(0.1, 1)).await),
        kind(cache.atomically(Batch::new()).await),
        kind(cache.acquire("k", LockOptions::new(ttl)).await),
        kind(cache.try_acquire("k", ttl).await),
    ];
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Closed), "{kinds:?}");
}
