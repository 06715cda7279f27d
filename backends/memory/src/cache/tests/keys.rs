//! Keys: odd ones, scans, prefixes, scopes.

use std::collections::BTreeSet;

use infra_core::cache::{KeyValue, Keys, Sets};
use infra_core::{ErrorKind, Ttl};

use super::{bytes, kind, pass};
use crate::{MemoryCache, MemoryCacheConfig};

async fn scan_all(cache: &MemoryCache, prefix: &str, page: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = cache.scan(prefix, cursor.as_deref(), page).await.unwrap();
        found.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn odd_keys_stay_apart() {
    let cache = MemoryCache::with_config(MemoryCacheConfig::default().with_key_prefix("p:")).unwrap();
    let keys = [
        " ", "..", "//", "a/", "a", "*", "%", "_", "\\", "p:", "a\0", "\n", "é", "e\u{301}", "after:", "🦀",
    ];
    for key in keys {
        cache
            .set(key, key.as_bytes().to_vec().into(), Ttl::Never)
            .await
            .unwrap();
    }
    for key in keys {
        assert_eq!(cache.get(key).await.unwrap().unwrap(), key.as_bytes(), "{key:?}");
        assert!(
            scan_all(&cache, key, 3)
                .await
                .iter()
                .all(|found| found.starts_with(key))
        );
    }
    let found: BTreeSet<_> = scan_all(&cache, "", 3).await.into_iter().collect();
    assert_eq!(found, keys.iter().map(|key| (*key).to_owned()).collect());
}

#[tokio::test]
async fn an_empty_or_oversized_key_is_refused() {
    let cache = MemoryCache::with_config(MemoryCacheConfig::default().with_max_key_bytes(4)).unwrap();
    for key in ["", "fives"] {
        let refused = [
            kind(cache.get(key).await),
            kind(cache.delete(&["ok", key]).await),
            kind(cache.exists(key).await),
            kind(cache.ttl(key).await),
            kind(cache.set_add(key, &[]).await),
            kind(cache.incr_by(key, 1).await),
        ];
        assert!(refused.iter().all(|kind| *kind == ErrorKind::InvalidArgument));
    }
    let error = cache.get("").await.unwrap_err();
    assert_eq!(
        (error.component(), error.backend(), error.operation()),
        ("cache", "memory", "get")
    );
}

#[tokio::test]
async fn a_scan_holds_when_keys_come_and_go_between_pages() {
    let cache = MemoryCache::new();
    for number in 0..100 {
        cache
            .set(&format!("k{number:02}"), bytes("v"), Ttl::Never)
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = cache.scan("k", cursor.as_deref(), 7).await.unwrap();
        assert!(page.keys.len() <= 7);
        // What was returned is deleted, the key that the cursor names included; other keys are added behind and before.
        let returned: Vec<_> = page.keys.iter().map(String::as_str).collect();
        cache.delete(&returned).await.unwrap();
        cache
            .set(&format!("a{}", seen.len()), bytes("v"), Ttl::Never)
            .await
            .unwrap();
        seen.extend(page.keys.iter().cloned());
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..100).map(|number| format!("k{number:02}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_scan_hides_what_expired() {
    let cache = MemoryCache::new();
    cache.set("a", bytes("v"), Ttl::millis(10)).await.unwrap();
    cache.set("b", bytes("v"), Ttl::millis(20)).await.unwrap();
    assert_eq!(scan_all(&cache, "", 1).await, ["a", "b"]);
    pass(10).await;
    assert_eq!(scan_all(&cache, "", 1).await, ["b"]);
    assert_eq!(cache.delete_prefix("a").await.unwrap(), 0);
}

#[tokio::test]
async fn a_scan_refuses_what_cannot_be_meant() {
    let cache = MemoryCache::new();
    for (cursor, limit) in [(Some("k"), 1), (Some("after:other"), 1), (Some(""), 1), (None, 0)] {
        assert_eq!(
            kind(cache.scan("k", cursor, limit).await),
            ErrorKind::InvalidArgument
        );
    }
    assert_eq!(
        cache.scan("k", None, usize::MAX).await.unwrap(),
        infra_core::cache::ScanPage::default()
    );
}

#[tokio::test]
async fn deleting_a_prefix_is_literal_and_never_everything() {
    let cache = MemoryCache::new();
    for key in ["a:1", "a:2", "a", "ab:1", "a%:1", "b:a:1"] {
        cache.set(key, bytes("v"), Ttl::Never).await.unwrap();
    }
    assert_eq!(kind(cache.delete_prefix("").await), ErrorKind::InvalidArgument);
    assert_eq!(cache.delete_prefix("a:").await.unwrap(), 2);
    assert_eq!(cache.delete_prefix("a%").await.unwrap(), 1);
    assert_eq!(scan_all(&cache, "", 10).await, ["a", "ab:1", "b:a:1"]);

    let scope = cache.scoped("b");
    assert_eq!(kind(scope.delete_prefix("").await), ErrorKind::InvalidArgument);
    assert_eq!(scope.delete_prefix("a").await.unwrap(), 1);
    assert_eq!(scan_all(&cache, "", 10).await, ["a", "ab:1"]);
}

#[tokio::test]
async fn scopes_nest_and_stay_apart() {
    let cache = MemoryCache::new();
    let (a, b) = (cache.scoped("a"), cache.scoped("b"));
    let nested = a.scoped("b");
    for (scope, value) in [(&cache, "0"), (&a, "1"), (&b, "2"), (&nested, "3")] {
        scope.set("k", bytes(value), Ttl::Never).await.unwrap();
    }
    for (scope, value) in [(&cache, "0"), (&a, "1"), (&b, "2"), (&nested, "3")] {
        assert_eq!(scope.get("k").await.unwrap(), Some(bytes(value)));
    }
    assert_eq!(scan_all(&nested, "", 10).await, ["k"]);
    assert_eq!(scan_all(&a, "", 10).await, ["b:k", "k"]);
}

#[tokio::test]
async fn deleting_counts_each_key_once() {
    let cache = MemoryCache::new();
    cache.set("a", bytes("v"), Ttl::Never).await.unwrap();
    cache.set_add("s", &[bytes("m")]).await.unwrap();
    assert_eq!(cache.delete(&["a", "a", "s", "x"]).await.unwrap(), 2);
    assert_eq!(cache.delete(&[]).await.unwrap(), 0);
}
