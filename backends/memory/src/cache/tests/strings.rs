//! Strings: values, times to live, comparisons, numbers.

use std::time::Duration;

use infra_core::cache::{CompareAndSet, Expected, Hashes, KeyValue, Keys};
use infra_core::{ErrorKind, Ttl};

use super::{bytes, kind, pass};
use crate::MemoryCache;

#[tokio::test]
async fn absence_is_none_and_the_empty_value_is_a_value() {
    let cache = MemoryCache::new();
    assert_eq!(cache.get("k").await.unwrap(), None);
    cache.set("k", bytes(""), Ttl::Never).await.unwrap();
    assert_eq!(cache.get("k").await.unwrap(), Some(bytes("")));
    assert_eq!(
        cache.get_many(&["x", "k", "x"]).await.unwrap(),
        [None, Some(bytes("")), None]
    );
}

#[tokio::test(start_paused = true)]
async fn a_value_lives_exactly_its_time() {
    let cache = MemoryCache::new();
    cache.set("k", bytes("v"), Ttl::millis(100)).await.unwrap();
    pass(99).await;
    assert_eq!(
        cache.ttl("k").await.unwrap(),
        Some(Ttl::After(Duration::from_millis(1)))
    );
    assert!(cache.exists("k").await.unwrap());
    pass(1).await;
    assert_eq!(cache.get("k").await.unwrap(), None);
    assert_eq!(cache.ttl("k").await.unwrap(), None);
    assert!(!cache.expire("k", Ttl::secs(1)).await.unwrap());
    assert_eq!(cache.delete(&["k"]).await.unwrap(), 0);
    assert!(cache.set_if_absent("k", bytes("w"), Ttl::Never).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn setting_replaces_the_time_to_live_and_never_clears_it() {
    let cache = MemoryCache::new();
    cache.set("k", bytes("v"), Ttl::millis(100)).await.unwrap();
    cache.set("k", bytes("w"), Ttl::Never).await.unwrap();
    pass(1000).await;
    assert_eq!(cache.ttl("k").await.unwrap(), Some(Ttl::Never));

    assert!(cache.expire("k", Ttl::millis(10)).await.unwrap());
    assert_eq!(
        cache.get_set("k", bytes("x"), Ttl::Never).await.unwrap(),
        Some(bytes("w"))
    );
    pass(1000).await;
    assert_eq!(cache.get("k").await.unwrap(), Some(bytes("x")));

    assert!(cache.expire("k", Ttl::millis(10)).await.unwrap());
    assert!(cache.expire("k", Ttl::Never).await.unwrap());
    pass(1000).await;
    assert!(cache.exists("k").await.unwrap());
}

#[tokio::test]
async fn compare_and_set_tells_what_is_there_instead() {
    let cache = MemoryCache::new();
    let set = |expected, value| cache.compare_and_set("k", expected, bytes(value), Ttl::Never);
    assert_eq!(
        set(Expected::Value(bytes("a")), "b").await.unwrap(),
        CompareAndSet::Mismatch { current: None }
    );
    assert_eq!(set(Expected::Absent, "a").await.unwrap(), CompareAndSet::Stored);
    assert_eq!(
        set(Expected::Absent, "b").await.unwrap(),
        CompareAndSet::Mismatch {
            current: Some(bytes("a"))
        }
    );
    assert_eq!(
        set(Expected::Value(bytes("a")), "b").await.unwrap(),
        CompareAndSet::Stored
    );
    assert!(!cache.compare_and_delete("k", bytes("a")).await.unwrap());
    assert!(cache.compare_and_delete("k", bytes("b")).await.unwrap());
    assert!(!cache.compare_and_delete("k", bytes("b")).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn counting_keeps_the_time_to_live_and_refuses_overflow() {
    let cache = MemoryCache::new();
    assert_eq!(cache.incr_by("n", 5).await.unwrap(), 5);
    cache.expire("n", Ttl::millis(50)).await.unwrap();
    assert_eq!(cache.incr_by("n", -7).await.unwrap(), -2);
    assert_eq!(cache.get("n").await.unwrap(), Some(bytes("-2")));
    pass(50).await;
    assert_eq!(
        cache.incr_by("n", 1).await.unwrap(),
        1,
        "the expired count is gone"
    );

    cache.incr_by("n", i64::MAX - 1).await.unwrap();
    assert_eq!(kind(cache.incr_by("n", 1).await), ErrorKind::Conflict);
    assert_eq!(cache.incr_by("n", 0).await.unwrap(), i64::MAX, "unchanged");

    cache.set("text", bytes("12a"), Ttl::Never).await.unwrap();
    assert_eq!(kind(cache.incr_by("text", 1).await), ErrorKind::Conflict);
    assert_eq!(cache.get("text").await.unwrap(), Some(bytes("12a")));
}

#[tokio::test]
async fn set_many_names_the_failing_entries_only() {
    let cache =
        MemoryCache::with_config(crate::MemoryCacheConfig::default().with_max_value_bytes(3)).unwrap();
    let entries = [
        ("a", bytes("ok")),
        ("b", bytes("long")),
        ("", bytes("ok")),
        ("d", bytes("ok")),
    ];
    let results = cache.set_many(&entries, Ttl::Never).await.unwrap();
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(infra_core::Error::kind))
        .collect();
    let refused = Some(ErrorKind::InvalidArgument);
    assert_eq!(kinds, [None, refused, refused, None]);
    assert_eq!(
        cache.get_many(&["a", "b", "d"]).await.unwrap(),
        [Some(bytes("ok")), None, Some(bytes("ok"))]
    );
}

#[tokio::test]
async fn another_type_is_a_conflict_and_a_plain_set_replaces_it() {
    let cache = MemoryCache::new();
    cache.hash_set("h", &[("f", bytes("v"))]).await.unwrap();
    let value = || bytes("v");
    assert_eq!(kind(cache.get("h").await), ErrorKind::Conflict);
    assert_eq!(kind(cache.get_many(&["h"]).await), ErrorKind::Conflict);
    assert_eq!(kind(cache.incr_by("h", 1).await), ErrorKind::Conflict);
    assert_eq!(
        kind(cache.get_set("h", value(), Ttl::Never).await),
        ErrorKind::Conflict
    );
    assert_eq!(
        kind(cache.compare_and_delete("h", value()).await),
        ErrorKind::Conflict
    );
    let compared = cache.compare_and_set("h", Expected::Absent, value(), Ttl::Never);
    assert_eq!(kind(compared.await), ErrorKind::Conflict);
    assert!(!cache.set_if_absent("h", value(), Ttl::Never).await.unwrap());
    assert_eq!(cache.hash_len("h").await.unwrap(), 1, "nothing was changed");

    cache.set("h", value(), Ttl::Never).await.unwrap();
    assert_eq!(cache.get("h").await.unwrap(), Some(value()));
}

#[tokio::test]
async fn impossible_times_to_live_are_refused() {
    let cache = MemoryCache::new();
    for ttl in [
        Ttl::millis(0),
        Ttl::After(Duration::MAX),
        Ttl::After(Duration::from_nanos(1)),
    ] {
        assert_eq!(
            kind(cache.set("k", bytes("v"), ttl).await),
            ErrorKind::InvalidArgument
        );
        assert_eq!(
            kind(cache.set_many(&[("k", bytes("v"))], ttl).await),
            ErrorKind::InvalidArgument
        );
        assert_eq!(kind(cache.expire("k", ttl).await), ErrorKind::InvalidArgument);
    }
    assert!(!cache.exists("k").await.unwrap());
}
