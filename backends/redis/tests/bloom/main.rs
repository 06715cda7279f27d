//! Bloom filters on a real Redis: what the conformance suite does not ask of every backend.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helper functions of tests fail like tests"
)]

mod module;
mod rate;

use infra_core::assembly::BackendOptions;
use infra_core::cache::{Bloom, BloomOptions, Hashes, KeyValue, Keys};
use infra_core::config::{BackendUrl, Compat};
use infra_core::{ErrorKind, Ttl};
use infra_redis::{RedisCache, RedisConfig};
use infra_testkit::{servers, unique};

const OPTIONS: BloomOptions = BloomOptions::new(0.01, 1000);

pub(crate) fn config(url: &str) -> RedisConfig {
    let mut config = RedisConfig::development();
    config
        .take_url(&BackendUrl::parse(url).expect("a URL"))
        .expect("a URL of Redis");
    config.with_key_prefix(format!("{}:", unique("bloom")))
}

/// A client of this server with keys of its own; nothing where the server is missing.
pub(crate) async fn cache(server: &str) -> Option<RedisCache> {
    let connected = RedisCache::connect(config(&servers::require(server)?)).await;
    Some(connected.expect("connected"))
}

#[tokio::test]
async fn what_is_no_filter_is_a_conflict_and_stays() {
    let Some(cache) = cache("redis").await else { return };
    cache.hash_set("hash", &[("f", "1".into())]).await.unwrap();
    for (key, value) in [
        ("empty", ""),
        ("short", "infraBF"),
        ("text", "forty bytes of text that are not a filter"),
    ] {
        cache.set(key, value.into(), Ttl::secs(60)).await.unwrap();
    }
    for key in ["hash", "empty", "short", "text"] {
        for answer in [
            cache.bloom_reserve(key, OPTIONS).await,
            cache.bloom_add(key, b"a").await.map(drop),
        ] {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Conflict, "{key}");
        }
        let found = cache.bloom_contains(key, b"a").await;
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Conflict, "{key}");
    }
    assert_eq!(cache.get("empty").await.unwrap().unwrap(), "");
    assert_eq!(cache.hash_len("hash").await.unwrap(), 1);
}

#[tokio::test]
async fn a_filter_is_one_key_that_lives_as_long_as_it_is_told() {
    let Some(cache) = cache("redis-cluster").await else {
        return;
    };
    cache.bloom_reserve("seen", OPTIONS).await.unwrap();
    assert!(cache.bloom_add("seen", b"a").await.unwrap());
    assert!(cache.expire("seen", Ttl::secs(60)).await.unwrap());
    assert!(cache.bloom_add("seen", b"b").await.unwrap());
    assert!(matches!(cache.ttl("seen").await.unwrap(), Some(Ttl::After(_))));
    assert_eq!(cache.delete(&["seen"]).await.unwrap(), 1);
    assert!(!cache.bloom_contains("seen", b"a").await.unwrap());
    assert_eq!(
        cache.bloom_add("seen", b"a").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn filters_that_no_key_can_hold_are_refused() {
    let Some(cache) = cache("redis").await else { return };
    for options in [
        BloomOptions::new(0.01, 1 << 30),
        BloomOptions::new(1e-300, 10_000_000),
        BloomOptions::new(0.5, u64::MAX),
    ] {
        let error = cache.bloom_reserve("large", options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        assert!(error.to_string().contains("512"), "{error}");
    }
    // Hundreds of hashes, and one.
    for (key, options) in [
        ("many", BloomOptions::new(f64::MIN_POSITIVE, 10)),
        ("one", BloomOptions::new(0.999_999, 10)),
    ] {
        cache.bloom_reserve(key, options).await.unwrap();
        assert!(cache.bloom_add(key, b"a").await.unwrap());
        assert!(cache.bloom_contains(key, b"a").await.unwrap());
    }
}

#[tokio::test]
async fn a_filter_of_two_keys_needs_a_hash_tag_on_a_cluster() {
    let Some(url) = servers::require("redis-cluster") else {
        return;
    };
    let gochat = config(&url).with_compat(Compat::GoChat);
    let cache = RedisCache::connect(gochat).await.unwrap();
    let error = cache.bloom_reserve("seen", OPTIONS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    cache.bloom_reserve("{seen}", OPTIONS).await.unwrap();
    assert!(cache.bloom_add("{seen}", b"a").await.unwrap());
}
