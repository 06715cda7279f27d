//! Configuration: versions, transactions, scopes, watches.

use bytes::Bytes;
use infra_core::coordination::{
    ConfigCenter, ConfigCenterExt, ConfigEntry, ConfigWrite, Version, WatchScope,
};
use infra_core::{Backend, ErrorKind};

use super::*;
use crate::{MemoryCoordinator, MemoryCoordinatorConfig};

fn value(entry: &ConfigEntry) -> &[u8] {
    &entry.value
}

async fn put(center: &MemoryCoordinator, key: &str, value: &'static str) -> Version {
    center
        .write(vec![ConfigWrite::set(key, value)])
        .await
        .expect("written")
}

async fn watch(center: &MemoryCoordinator, scope: WatchScope) -> Watch<ConfigEntry> {
    let (_, revision) = center.read(&scope).await.expect("read");
    center.watch(&scope, revision).await.expect("watched")
}

fn prefix(text: &str) -> WatchScope {
    WatchScope::Prefix(text.to_owned())
}

fn key(text: &str) -> WatchScope {
    WatchScope::Key(text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn versions_grow_and_a_stale_one_is_a_conflict_that_names_the_key() {
    let center = MemoryCoordinator::new();
    assert!(center.entry("a").await.expect("no error").is_none());
    let first = put(&center, "a", "1").await;
    let second = put(&center, "a", "2").await;
    assert!(Version::ABSENT < first && first < second);
    assert_eq!(
        center.entry("a").await.expect("no error").expect("there").version,
        second
    );

    for stale in [Version::ABSENT, first] {
        let error = center
            .write(vec![
                ConfigWrite::set("other", "x"),
                ConfigWrite::compare_and_set("a", "3", stale),
            ])
            .await
            .expect_err("stale");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("\"a\""), "{error}");
        assert!(error.message().contains(&second.to_string()), "{error}");
    }
    assert!(
        center.entry("other").await.expect("no error").is_none(),
        "all or nothing"
    );

    center.delete("a").await.expect("deleted");
    center.delete("a").await.expect("deleting again is no error");
    let error = center
        .write(vec![ConfigWrite::compare_and_set("a", "4", second)])
        .await
        .expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let again = center
        .compare_and_set("a", "new", Version::ABSENT)
        .await
        .expect("created");
    assert!(
        again > second,
        "a re-created key does not take an old version again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_transaction_has_one_version_and_one_revision() {
    let center = MemoryCoordinator::new();
    put(&center, "gone", "x").await;
    let mut events = watch(&center, prefix("")).await;
    let version = center
        .write(vec![
            ConfigWrite::set("b", "2"),
            ConfigWrite::set("a", "1"),
            ConfigWrite::delete("gone"),
        ])
        .await
        .expect("written");
    let (entries, revision) = center.read(&prefix("")).await.expect("read");
    assert_eq!(
        entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(entries.iter().all(|entry| entry.version == version));
    assert_eq!(revision, version.0);
    assert!(matches!(next(&mut events).await, WatchEvent::Put(entry) if entry.key == "b"));
    assert!(matches!(next(&mut events).await, WatchEvent::Put(entry) if entry.key == "a"));
    assert!(matches!(next(&mut events).await, WatchEvent::Delete(key) if key == "gone"));
}

#[tokio::test(start_paused = true)]
async fn prefixes_are_literal_and_any_text_is_a_key() {
    let center = MemoryCoordinator::new();
    let keys = [
        "ratelimit/a",
        "ratelimit-foo",
        "ratelimit",
        "ratelimit/",
        "ratelimit/a/",
        "ratelimit//a",
        "ratelimit/../a",
        "配置/键",
        "%",
        "_",
        "*",
        "\\",
        "a\u{0}b",
    ];
    for (n, key) in keys.iter().enumerate() {
        center
            .write(vec![ConfigWrite::set(*key, n.to_string())])
            .await
            .expect("any text is a key");
    }
    for (n, key) in keys.iter().enumerate() {
        let entry = center.entry(key).await.expect("no error").expect("round trip");
        assert_eq!(value(&entry), n.to_string().as_bytes());
    }
    let listed: Vec<_> = center.list("ratelimit/").await.expect("listed");
    assert_eq!(
        listed.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(),
        [
            "ratelimit/",
            "ratelimit/../a",
            "ratelimit//a",
            "ratelimit/a",
            "ratelimit/a/"
        ]
    );
    assert_eq!(center.list("").await.expect("listed").len(), keys.len());
    assert!(center.list("nothing/").await.expect("no error").is_empty());
    let mut events = watch(&center, prefix("ratelimit/")).await;
    put(&center, "ratelimit-foo", "x").await;
    put(&center, "ratelimit/created-later", "x").await;
    assert!(
        matches!(next(&mut events).await, WatchEvent::Put(entry) if entry.key == "ratelimit/created-later")
    );
}

#[tokio::test(start_paused = true)]
async fn bad_transactions_are_refused_before_anything_happens() {
    let center = MemoryCoordinator::new();
    let limits = *center.capabilities().limits();
    let large = Bytes::from(vec![0; limits.max_value_bytes + 1]);
    for writes in [
        vec![],
        vec![ConfigWrite::set("", "x")],
        vec![ConfigWrite::set("k".repeat(limits.max_key_bytes + 1), "x")],
        vec![ConfigWrite::set("k", large)],
        vec![ConfigWrite::set("k", "1"), ConfigWrite::delete("k")],
        (0..129).map(|n| ConfigWrite::set(n.to_string(), "x")).collect(),
    ] {
        let error = center.write(writes).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert!(center.list("").await.expect("listed").is_empty());
    let secret = format!("{:?}", ConfigWrite::set("k", "hunter2"));
    assert!(
        !secret.contains("hunter2") && secret.contains("value_bytes"),
        "{secret}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_decode_names_its_key() {
    let center = MemoryCoordinator::new();
    put(&center, "app/limits", "[1, \"two\"]").await;
    let error = center
        .get::<Vec<u32>>("app/limits")
        .await
        .expect_err("not numbers");
    assert_eq!(error.kind(), ErrorKind::DataCorrupted);
    assert!(
        error.message().contains("app/limits") && error.message().contains("[1]"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn room_is_bounded() {
    let config = MemoryCoordinatorConfig::default()
        .with_max_entries(2)
        .with_max_config_bytes(100);
    let center = MemoryCoordinator::with_config(config).expect("valid");
    put(&center, "a", "1").await;
    put(&center, "b", "1").await;
    let error = center
        .write(vec![ConfigWrite::set("c", "1")])
        .await
        .expect_err("full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let error = center
        .write(vec![ConfigWrite::set("a", vec![0; 100])])
        .await
        .expect_err("full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    for _ in 0..100 {
        center
            .write(vec![ConfigWrite::set("a", vec![0; 40])])
            .await
            .expect("replacing needs no more room");
        center
            .write(vec![ConfigWrite::set("a", "1")])
            .await
            .expect("replaced");
    }
    let none = MemoryCoordinator::with_config(
        MemoryCoordinatorConfig::default()
            .with_max_locks(0)
            .with_watch_buffer(0),
    );
    let error = none.expect_err("refused");
    assert!(
        error.message().contains("max_locks") && error.message().contains("watch_buffer"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_starts_after_its_revision_and_a_forgotten_one_begins_with_reset() {
    let config = MemoryCoordinatorConfig::default().with_history(4);
    let center = MemoryCoordinator::with_config(config).expect("valid");
    let versions = [
        put(&center, "k", "1").await,
        put(&center, "k", "2").await,
        put(&center, "k", "3").await,
    ];
    let mut events = center.watch(&key("k"), versions[0].0).await.expect("watched");
    for expected in ["2", "3"] {
        assert!(
            matches!(next(&mut events).await, WatchEvent::Put(entry) if value(&entry) == expected.as_bytes())
        );
    }
    silent(&mut events).await;
    for n in 0..4 {
        put(&center, "other", ["a", "b", "c", "d"][n]).await;
    }
    let mut forgotten = center.watch(&key("k"), versions[0].0).await.expect("watched");
    assert!(matches!(next(&mut forgotten).await, WatchEvent::Reset));
    put(&center, "k", "4").await;
    assert!(matches!(next(&mut forgotten).await, WatchEvent::Put(entry) if value(&entry) == b"4"));
    let mut from_another_life = center.watch(&key("k"), 1_000_000).await.expect("watched");
    assert!(matches!(next(&mut from_another_life).await, WatchEvent::Reset));

    center.faults().forget_history();
    assert!(matches!(next(&mut events).await, WatchEvent::Put(_)));
    assert!(matches!(next(&mut events).await, WatchEvent::Reset));
    put(&center, "k", "5").await;
    assert!(matches!(next(&mut events).await, WatchEvent::Put(entry) if value(&entry) == b"5"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_and_a_dropped_watch_is_unsubscribed() {
    let config = MemoryCoordinatorConfig::default()
        .with_watch_buffer(2)
        .with_max_watches(3);
    let center = MemoryCoordinator::with_config(config).expect("valid");
    let mut slow = watch(&center, key("k")).await;
    let others = [watch(&center, key("k")).await, watch(&center, key("k")).await];
    let error = center.watch(&key("k"), 0).await.expect_err("no more watches");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    for _ in 0..5 {
        put(&center, "k", "x").await;
    }
    assert!(matches!(next(&mut slow).await, WatchEvent::Put(_)));
    assert!(matches!(next(&mut slow).await, WatchEvent::Put(_)));
    assert!(matches!(next(&mut slow).await, WatchEvent::Lagged { missed: 3 }));
    assert_eq!(center.faults().open_watches(), (0, 3));
    drop(others);
    assert_eq!(center.faults().open_watches(), (0, 1));
    let _again = watch(&center, key("k")).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_the_watches_of_that_client_only() {
    let leaving = MemoryCoordinator::new();
    let staying = leaving.connect();
    let mut closed = watch(&leaving, key("k")).await;
    let mut open = watch(&staying, key("k")).await;
    leaving.shutdown(Duration::from_secs(1)).await.expect("closed");
    leaving.shutdown(Duration::from_secs(1)).await.expect("again");
    assert!(
        matches!(next(&mut closed).await, WatchEvent::Closed(error) if error.kind() == ErrorKind::Closed)
    );
    assert!(closed.next().await.is_none());
    for refused in [
        leaving.read(&key("k")).await.map(drop),
        leaving.write(vec![ConfigWrite::set("k", "x")]).await.map(drop),
        leaving.watch(&key("k"), 0).await.map(drop),
        leaving.health().await,
    ] {
        assert_eq!(refused.expect_err("closed").kind(), ErrorKind::Closed);
    }
    put(&staying, "k", "x").await;
    assert!(matches!(next(&mut open).await, WatchEvent::Put(_)));
}

/// WATCH-009: what is written between the read and the watch is never lost, whoever is faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_between_reading_and_watching_in_1000_races() {
    let center = MemoryCoordinator::new();
    for round in 0..1000_u32 {
        let name = format!("race/{round}");
        let (writer, written) = (center.connect(), name.clone());
        let racing = tokio::spawn(async move { put(&writer, &written, "final").await });
        let scope = key(&name);
        let (entries, revision) = center.read(&scope).await.expect("read");
        let mut events = center.watch(&scope, revision).await.expect("watched");
        if entries.is_empty() {
            assert!(matches!(next(&mut events).await, WatchEvent::Put(entry) if value(&entry) == b"final"));
        }
        racing.await.expect("no panic");
        assert!(
            futures_util::poll!(events.next()).is_pending(),
            "and nothing comes twice"
        );
    }
}
