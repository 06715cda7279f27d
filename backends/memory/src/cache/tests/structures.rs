//! Hashes, sets, sorted sets and bloom filters.

use std::collections::BTreeMap;

use bytes::Bytes;
use infra_core::cache::{
    Bloom, BloomOptions, Hashes, KeyValue, Keys, RankRange, ScoreBound, ScoreRange, Scored, Sets, SortedSets,
};
use infra_core::{ErrorKind, Ttl};

use super::{bytes, kind, pass};
use crate::MemoryCache;

#[tokio::test]
async fn a_hash_counts_new_fields_and_vanishes_with_the_last() {
    let cache = MemoryCache::new();
    let fields = [("a", bytes("1")), ("b", bytes("2")), ("a", bytes("3"))];
    assert_eq!(cache.hash_set("h", &fields).await.unwrap(), 2);
    assert_eq!(
        cache
            .hash_set("h", &[("b", bytes("4")), ("", bytes(""))])
            .await
            .unwrap(),
        1
    );
    let expected = BTreeMap::from([
        (String::new(), bytes("")),
        ("a".to_owned(), bytes("3")),
        ("b".to_owned(), bytes("4")),
    ]);
    assert_eq!(cache.hash_get_all("h").await.unwrap(), expected);
    assert_eq!(cache.hash_get("h", "a").await.unwrap(), Some(bytes("3")));
    assert_eq!(cache.hash_get("h", "x").await.unwrap(), None);
    assert_eq!(cache.hash_get("x", "a").await.unwrap(), None);
    assert!(cache.hash_exists("h", "").await.unwrap());
    assert_eq!(cache.hash_delete("h", &["a", "a", "x"]).await.unwrap(), 1);
    assert_eq!(cache.hash_len("h").await.unwrap(), 2);
    assert_eq!(cache.hash_delete("h", &["", "b"]).await.unwrap(), 2);
    assert!(!cache.exists("h").await.unwrap());
    assert_eq!(cache.hash_set("h", &[]).await.unwrap(), 0);
    assert!(
        !cache.exists("h").await.unwrap(),
        "a hash without fields does not exist"
    );
}

#[tokio::test(start_paused = true)]
async fn changing_a_structure_keeps_its_time_to_live() {
    let cache = MemoryCache::new();
    cache.set_add("s", &[bytes("a")]).await.unwrap();
    cache.expire("s", Ttl::millis(50)).await.unwrap();
    // Enough to be weighed anew.
    let many: Vec<Bytes> = (0..1000).map(|n: u32| n.to_string().into()).collect();
    cache.set_add("s", &many).await.unwrap();
    pass(49).await;
    assert_eq!(cache.set_len("s").await.unwrap(), 1001);
    pass(1).await;
    assert_eq!(cache.set_len("s").await.unwrap(), 0);
    assert_eq!(cache.set_add("s", &[bytes("a")]).await.unwrap(), 1);
    assert_eq!(cache.ttl("s").await.unwrap(), Some(Ttl::Never));
}

#[tokio::test]
async fn counting_in_a_hash_is_as_strict_as_in_a_string() {
    let cache = MemoryCache::new();
    assert_eq!(cache.hash_incr_by("h", "n", 3).await.unwrap(), 3);
    assert_eq!(
        cache.hash_incr_by("h", "n", i64::MAX - 3).await.unwrap(),
        i64::MAX
    );
    assert_eq!(kind(cache.hash_incr_by("h", "n", 1).await), ErrorKind::Conflict);
    assert_eq!(cache.hash_incr_by("h", "n", 0).await.unwrap(), i64::MAX);
    cache.hash_set("h", &[("t", bytes("x"))]).await.unwrap();
    let error = cache.hash_incr_by("h", "t", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("\"t\"") && error.message().contains("\"h\""));
}

#[tokio::test]
async fn a_set_holds_distinct_members() {
    let cache = MemoryCache::new();
    let members = [bytes("a"), bytes("b"), bytes("a")];
    assert_eq!(cache.set_add("s", &members).await.unwrap(), 2);
    assert_eq!(cache.set_add("s", &members).await.unwrap(), 0);
    let mut found = cache.set_members("s").await.unwrap();
    found.sort();
    assert_eq!(found, [bytes("a"), bytes("b")]);
    assert!(cache.set_contains("s", bytes("a")).await.unwrap());
    assert!(!cache.set_contains("s", bytes("c")).await.unwrap());
    assert_eq!(cache.set_remove("s", &members).await.unwrap(), 2);
    assert!(!cache.exists("s").await.unwrap());
    assert!(cache.set_members("s").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_newest_fifty_come_with_their_scores() {
    let cache = MemoryCache::new();
    for number in 0..200_u32 {
        let scored = Scored::new(number.to_string(), f64::from(number));
        cache.sorted_add("recent", &[scored]).await.unwrap();
        cache
            .sorted_remove_by_rank("recent", RankRange::new(0, -51))
            .await
            .unwrap();
    }
    let found = cache
        .sorted_range("recent", RankRange::greatest(50))
        .await
        .unwrap();
    let scores: Vec<_> = found.iter().map(|scored| scored.score).collect();
    let expected: Vec<_> = (150..200).rev().map(f64::from).collect();
    assert_eq!(scores, expected);
    assert_eq!(found[0].member, "199");
}

#[tokio::test]
async fn a_sorted_set_is_ordered_by_score_then_member() {
    let cache = MemoryCache::new();
    let members = [
        Scored::new("b", 1.0),
        Scored::new("a", 1.0),
        Scored::new("z", f64::NEG_INFINITY),
        Scored::new("c", f64::INFINITY),
    ];
    assert_eq!(cache.sorted_add("s", &members).await.unwrap(), 4);
    assert_eq!(cache.sorted_add("s", &[Scored::new("b", 2.0)]).await.unwrap(), 0);
    assert_eq!(cache.sorted_score("s", bytes("b")).await.unwrap(), Some(2.0));
    assert_eq!(cache.sorted_score("s", bytes("x")).await.unwrap(), None);
    let range = ScoreRange::between(1.0, 2.0);
    let found = cache.sorted_range_by_score("s", range).await.unwrap();
    assert_eq!(found, [Scored::new("a", 1.0), Scored::new("b", 2.0)]);
    let second = range.descending().page(1, 5);
    assert_eq!(
        cache.sorted_range_by_score("s", second).await.unwrap(),
        [Scored::new("a", 1.0)]
    );
    assert_eq!(
        cache.sorted_count("s", second).await.unwrap(),
        2,
        "offset and limit do not count"
    );
    assert_eq!(
        cache.sorted_remove("s", &[bytes("z"), bytes("x")]).await.unwrap(),
        1
    );
    assert_eq!(cache.sorted_len("s").await.unwrap(), 3);
    assert_eq!(cache.sorted_remove_by_rank("s", RankRange::ALL).await.unwrap(), 3);
    assert!(!cache.exists("s").await.unwrap());
}

#[tokio::test]
async fn what_is_not_a_number_is_refused() {
    let cache = MemoryCache::new();
    let scored = [Scored::new("a", 1.0), Scored::new("b", f64::NAN)];
    assert_eq!(
        kind(cache.sorted_add("s", &scored).await),
        ErrorKind::InvalidArgument
    );
    assert!(!cache.exists("s").await.unwrap());
    for bound in [ScoreBound::Included(f64::NAN), ScoreBound::Excluded(f64::NAN)] {
        for range in [ScoreRange::ALL.with_min(bound), ScoreRange::ALL.with_max(bound)] {
            assert_eq!(
                kind(cache.sorted_count("s", range).await),
                ErrorKind::InvalidArgument
            );
            assert_eq!(
                kind(cache.sorted_range_by_score("s", range).await),
                ErrorKind::InvalidArgument
            );
        }
    }
}

#[tokio::test]
async fn the_types_do_not_mix() {
    let cache = MemoryCache::new();
    cache.set("string", bytes("v"), Ttl::Never).await.unwrap();
    cache.hash_set("hash", &[("f", bytes("v"))]).await.unwrap();
    cache.set_add("set", &[bytes("m")]).await.unwrap();
    cache
        .sorted_add("sorted", &[Scored::new("m", 1.0)])
        .await
        .unwrap();
    cache
        .bloom_reserve("bloom", BloomOptions::new(0.01, 10))
        .await
        .unwrap();
    for key in ["string", "hash", "set", "sorted", "bloom"] {
        if key != "hash" {
            assert_eq!(kind(cache.hash_get_all(key).await), ErrorKind::Conflict);
            assert_eq!(
                kind(cache.hash_set(key, &[("f", bytes("v"))]).await),
                ErrorKind::Conflict
            );
        }
        if key != "set" {
            assert_eq!(kind(cache.set_len(key).await), ErrorKind::Conflict);
            assert_eq!(kind(cache.set_add(key, &[bytes("m")]).await), ErrorKind::Conflict);
        }
        if key != "sorted" {
            assert_eq!(kind(cache.sorted_len(key).await), ErrorKind::Conflict);
            assert_eq!(
                kind(cache.sorted_remove(key, &[bytes("m")]).await),
                ErrorKind::Conflict
            );
        }
        if key != "bloom" {
            assert_eq!(kind(cache.bloom_add(key, b"i").await), ErrorKind::Conflict);
            let reserved = cache.bloom_reserve(key, BloomOptions::new(0.01, 10)).await;
            assert_eq!(kind(reserved), ErrorKind::Conflict);
        }
        assert!(cache.exists(key).await.unwrap());
    }
}

#[tokio::test]
async fn a_filter_is_reserved_once_and_refuses_the_impossible() {
    let cache = MemoryCache::new();
    let options = BloomOptions::new(0.01, 1000);
    assert_eq!(kind(cache.bloom_add("b", b"i").await), ErrorKind::NotFound);
    assert!(!cache.bloom_contains("b", b"i").await.unwrap());
    cache.bloom_reserve("b", options).await.unwrap();
    assert!(cache.bloom_add("b", b"i").await.unwrap());
    cache.bloom_reserve("b", options).await.unwrap();
    assert!(
        !cache.bloom_add("b", b"i").await.unwrap(),
        "reserving again forgot it"
    );
    let other = cache.bloom_reserve("b", BloomOptions::new(0.02, 1000)).await;
    assert_eq!(kind(other), ErrorKind::AlreadyExists);
    for (rate, capacity) in [(0.0, 1), (1.0, 1), (f64::NAN, 1), (0.5, 0)] {
        let reserved = cache.bloom_reserve("c", BloomOptions::new(rate, capacity)).await;
        assert_eq!(kind(reserved), ErrorKind::InvalidArgument);
    }
    let huge = cache
        .bloom_reserve("c", BloomOptions::new(1e-300, u64::MAX))
        .await;
    assert_eq!(kind(huge), ErrorKind::ResourceExhausted);
}

#[tokio::test]
async fn a_full_filter_errs_as_rarely_as_it_promised() {
    const CAPACITY: u32 = 100_000;
    let cache = MemoryCache::new();
    cache
        .bloom_reserve("b", BloomOptions::new(0.01, u64::from(CAPACITY)))
        .await
        .unwrap();
    for number in 0..CAPACITY {
        cache.bloom_add("b", &number.to_be_bytes()).await.unwrap();
    }
    let mut wrong = 0;
    for number in 0..CAPACITY {
        assert!(
            cache.bloom_contains("b", &number.to_be_bytes()).await.unwrap(),
            "forgot {number}"
        );
        let other = (number + CAPACITY).to_be_bytes();
        wrong += u32::from(cache.bloom_contains("b", &other).await.unwrap());
    }
    let rate = f64::from(wrong) / f64::from(CAPACITY);
    // 1,000 expected, with a standard deviation of about 32.
    assert!((0.007..0.0125).contains(&rate), "measured error rate {rate}");
}
