//! The way to one server: cut in the midst of replies, slow, away.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use infra_core::cache::KeyValue;
use infra_core::{ErrorKind, Ttl};
use infra_redis::RedisCache;
use infra_testkit::tcp_proxy::Cut;

use crate::ground::{DEADLINE, Own, Told, check_kind, in_time, recovered};

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_the_midst_of_replies_is_told_or_made_good() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let (proxy, config) = server.way();
    let cache = RedisCache::connect(config).await.unwrap();
    let keys: Vec<String> = (0..20).map(|key| format!("key{key}")).collect();
    let mut told = Told::default();
    for cut in 0..40_u64 {
        let how = if cut % 2 == 0 { Cut::Reset } else { Cut::Close };
        proxy.to_client().cut_after(cut * 3, how);
        // What may be done twice is done again, all of it.
        let value = Bytes::from(format!("value{cut}"));
        let entries: Vec<(&str, Bytes)> = keys.iter().map(|key| (key.as_str(), value.clone())).collect();
        let began = Instant::now();
        for stored in cache.set_many(&entries, Ttl::secs(600)).await.unwrap() {
            stored.unwrap();
        }
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        for found in cache.get_many(&names).await.unwrap() {
            assert_eq!(found.unwrap(), value);
        }
        // What may not is told.
        proxy.to_client().cut_after(cut % 4, how);
        match cache.incr_by("count", 1).await {
            Ok(_) => told.done += 1,
            Err(error) if error.had_no_effect() => told.refused += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
                told.unknown += 1;
            }
        }
        in_time(began);
        proxy.heal().unwrap();
    }
    let there = cache.incr_by("count", 0).await.unwrap();
    assert!(
        told.unknown > 20 && (told.done..=told.done + told.unknown).contains(&there),
        "{there} after {told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_is_waited_for_until_the_deadline() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let (proxy, config) = server.way();
    let cache = RedisCache::connect(config).await.unwrap();
    proxy
        .both()
        .delay_with_jitter(Duration::from_millis(100), Duration::from_millis(100));
    for number in 0..3 {
        let value = Bytes::from(format!("value{number}"));
        cache.set("a", value.clone(), Ttl::secs(600)).await.unwrap();
        assert_eq!(cache.get("a").await.unwrap().unwrap(), value);
    }
    proxy.heal().unwrap();
    // A value that takes longer than it may.
    let large = Bytes::from(vec![b'x'; 512 * 1024]);
    cache.set("large", large, Ttl::secs(600)).await.unwrap();
    proxy.to_client().throttle(NonZeroU64::new(50_000).unwrap());
    let began = Instant::now();
    let error = cache.get("large").await.expect_err("too slow");
    in_time(began);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    proxy.heal().unwrap();
    recovered(&cache).await;
    // Replies that come late are nobody else's.
    for number in 0..100 {
        let value = Bytes::from(format!("value{number}"));
        cache.set("a", value.clone(), Ttl::secs(600)).await.unwrap();
        assert_eq!(cache.get("a").await.unwrap().unwrap(), value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_leads_nowhere_is_given_up_in_time() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let (proxy, config) = server.way();
    let cache = RedisCache::connect(config).await.unwrap();
    cache.set("a", "1".into(), Ttl::secs(600)).await.unwrap();
    proxy.both().stall();
    let began = Instant::now();
    let stalled = (0..50).map(|_| cache.get("a"));
    for answer in futures_util::future::join_all(stalled).await {
        assert_eq!(answer.expect_err("stalled").kind(), ErrorKind::Timeout);
    }
    in_time(began);
    // The packets were dropped: the connections are gone when the way is there again.
    proxy.cut(Cut::Reset).unwrap();
    proxy.heal().unwrap();
    recovered(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_does_not_storm_a_server_that_is_away() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let (proxy, config) = server.way();
    let cache = RedisCache::connect(config).await.unwrap();
    let before = proxy.stats().accepted;
    server.control().kill().await.unwrap();
    let began = Instant::now();
    let crowd = (0..100).map(|_| async {
        let mut asked = 0_u32;
        while began.elapsed() < DEADLINE {
            check_kind(&cache.get("a").await.expect_err("nobody is there"));
            asked += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        asked
    });
    let asked: u32 = futures_util::future::join_all(crowd).await.iter().sum();
    let connections = proxy.stats().accepted - before;
    // The pause doubles from 8 ms to half a second: about a dozen attempts in two seconds.
    assert!(
        connections <= 30,
        "{connections} connections for {asked} requests"
    );
    server.control().start().await.unwrap();
    recovered(&cache).await;
}
