//! Bounded memory.

use bytes::Bytes;
use infra_core::cache::{Bloom, BloomOptions, KeyValue, Keys, Sets};
use infra_core::{ErrorKind, Ttl};

use super::{bytes, kind, pass};
use crate::{MemoryCache, MemoryCacheConfig};

fn small() -> MemoryCache {
    let config = MemoryCacheConfig::default()
        .with_max_entries(100)
        .with_max_bytes(64 << 10)
        .with_max_value_bytes(64 << 10);
    MemoryCache::with_config(config).unwrap()
}

#[tokio::test]
async fn the_number_of_keys_is_bounded_and_the_newest_stay() {
    let cache = small();
    for number in 0..1000 {
        cache
            .set(&format!("k{number}"), bytes("v"), Ttl::Never)
            .await
            .unwrap();
    }
    let usage = cache.usage();
    assert!((90..=100).contains(&usage.entries), "{usage:?}");
    assert!(cache.exists("k999").await.unwrap() && !cache.exists("k0").await.unwrap());
}

#[tokio::test]
async fn the_number_of_bytes_is_bounded() {
    let cache = small();
    for number in 0..100 {
        cache
            .set(&format!("k{number}"), vec![0; 10_000].into(), Ttl::Never)
            .await
            .unwrap();
    }
    let usage = cache.usage();
    assert!(
        usage.bytes <= 64 << 10 && (1..=6).contains(&usage.entries),
        "{usage:?}"
    );
}

#[tokio::test]
async fn a_growing_structure_is_weighed_and_evicted_whole() {
    let cache = small();
    for number in 0..200_u32 {
        let member: Bytes = vec![u8::try_from(number).unwrap(); 200].into();
        cache.set_add("s", &[member]).await.unwrap();
    }
    assert_eq!(cache.set_len("s").await.unwrap(), 200);
    let bytes_used = cache.usage().bytes;
    assert!((44_000..56_000).contains(&bytes_used), "{bytes_used}");
    for number in 0..5 {
        cache
            .set(&format!("k{number}"), vec![0; 10_000].into(), Ttl::Never)
            .await
            .unwrap();
    }
    assert!(cache.usage().bytes <= 64 << 10);
    assert_eq!(cache.set_len("s").await.unwrap(), 0, "gone as a whole");
}

#[tokio::test(start_paused = true)]
async fn expired_keys_give_their_memory_back_beside_other_writes() {
    let cache = MemoryCache::new();
    for number in 0..10_000 {
        let key = format!("old{number}");
        cache.set(&key, bytes("v"), Ttl::millis(10)).await.unwrap();
    }
    assert_eq!(cache.usage().entries, 10_000);
    pass(10).await;
    for number in 0..10_000 {
        let key = format!("new{number}");
        cache.set(&key, bytes("v"), Ttl::Never).await.unwrap();
    }
    let usage = cache.usage();
    assert!((10_000..10_500).contains(&usage.entries), "{usage:?}");
}

#[tokio::test]
async fn what_can_never_fit_is_refused() {
    let cache = small();
    let large = || Bytes::from(vec![0; 64 << 10]);
    assert_eq!(
        kind(cache.set("k", large(), Ttl::Never).await),
        ErrorKind::ResourceExhausted
    );
    assert_eq!(
        kind(cache.set_add("s", &[large()]).await),
        ErrorKind::ResourceExhausted
    );
    assert!(!cache.exists("s").await.unwrap());
    let filter = cache.bloom_reserve("b", BloomOptions::new(0.01, 1_000_000)).await;
    assert_eq!(kind(filter), ErrorKind::ResourceExhausted);
}

#[test]
fn a_configuration_reports_every_problem() {
    let config = MemoryCacheConfig::default()
        .with_max_entries(0)
        .with_max_bytes(1)
        .with_max_locks(0);
    let error = MemoryCache::with_config(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    for field in ["max_entries", "max_value_bytes", "max_locks"] {
        assert!(error.message().contains(field), "{error}");
    }
}
