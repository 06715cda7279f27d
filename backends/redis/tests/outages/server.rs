//! One server that restarts, sleeps, forgets its scripts, runs out of memory, throws its clients out.

use std::time::{Duration, Instant};

use infra_core::cache::KeyValue;
use infra_core::rate_limit::{Quota, RateLimitStore, Take};
use infra_core::{Backend, ErrorKind, Ttl};
use infra_redis::RedisRateLimitStore;
use infra_testkit::time::eventually;

use crate::ground::{self, Counting, DEADLINE, Own, RECOVERY, check_counts, check_kind, in_time, recovered};

/// A bucket that gains nothing while a test runs.
fn bucket(cost: u32) -> [Take; 1] {
    let quota = Quota::new(0.000_1, 1_000).unwrap();
    [Take::new("bucket", quota, cost)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_nothing_that_was_reported_done() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let cache = server.cache().await;
    let store = RedisRateLimitStore::connect(server.config.clone()).await.unwrap();
    assert!(store.take(&bucket(400)).await.unwrap()[0].allowed);
    let keys: Vec<String> = (0..10).map(|key| format!("count{key}")).collect();
    let counting = Counting::start(&cache, 8, &keys);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.control().kill().await.unwrap();
        let began = Instant::now();
        check_kind(&cache.get("count0").await.expect_err("nobody is there"));
        in_time(began);
        check_kind(&store.take(&bucket(1)).await.expect_err("nobody is there"));
        server.control().start().await.unwrap();
        recovered(&cache).await;
    }
    let sums = counting.stop().await;
    assert!(check_counts(&cache, &sums).await > 100, "{sums:?}");
    // The script is gone, the bucket is not.
    let works = || async { store.health().await.is_ok() };
    assert!(eventually(RECOVERY, works).await);
    assert!(!store.take(&bucket(601)).await.unwrap()[0].allowed);
    assert!(store.take(&bucket(590)).await.unwrap()[0].allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sleeps_is_not_waited_for_beyond_the_deadline() {
    let Some(mut server) = Own::start("redis").await else {
        return;
    };
    let short = Duration::from_millis(300);
    server.config = server.config.clone().with_request_timeout(short);
    let cache = server.cache().await;
    cache.set("a", "1".into(), Ttl::secs(600)).await.unwrap();
    let mut other = server.other(0).await;
    let sleeping = tokio::spawn(async move { other.try_run::<String>("DEBUG SLEEP 2").await });
    let asleep = || async { cache.get("a").await.is_err() };
    assert!(eventually(DEADLINE, asleep).await, "it never slept");
    let began = Instant::now();
    let error = cache.get("a").await.expect_err("asleep");
    in_time(began);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    recovered(&cache).await;
    // Late replies are nobody else's.
    for value in 0..50 {
        let value = format!("value{value}");
        cache
            .set("b", value.clone().into(), Ttl::secs(600))
            .await
            .unwrap();
        assert_eq!(cache.get("b").await.unwrap().unwrap(), value);
    }
    let _ = sleeping.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_thrown_out_come_back_and_count_right() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let cache = server.cache().await;
    let mut other = server.other(0).await;
    let keys = ["count".to_owned()];
    let counting = Counting::start(&cache, 16, &keys);
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let _: i64 = other.run("CLIENT KILL TYPE normal SKIPME yes").await;
    }
    let sums = counting.stop().await;
    recovered(&cache).await;
    assert!(check_counts(&cache, &sums).await > 100, "{sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_forgotten_are_sent_again_and_run_once() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let store = std::sync::Arc::new(RedisRateLimitStore::connect(server.config.clone()).await.unwrap());
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = std::sync::Arc::clone(&store);
        takers.spawn(async move {
            let mut taken = 0;
            for _ in 0..200 {
                taken += u32::from(store.take(&bucket(1)).await.unwrap()[0].allowed);
            }
            taken
        });
    }
    let mut other = server.other(0).await;
    for _ in 0..100 {
        let () = other.run("SCRIPT FLUSH").await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut taken = 0;
    while let Some(one) = takers.join_next().await {
        taken += one.unwrap();
    }
    assert_eq!(taken, 1_000, "of a bucket of 1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_memory_says_so_once() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let cache = server.cache().await;
    let store = RedisRateLimitStore::connect(server.config.clone()).await.unwrap();
    cache.set("a", "1".into(), Ttl::secs(600)).await.unwrap();
    assert!(store.take(&bucket(1)).await.unwrap()[0].allowed);
    let mut other = server.other(0).await;
    let () = other.run("CONFIG SET maxmemory-policy noeviction").await;
    let () = other.run("CONFIG SET maxmemory 1").await;
    for refused in [
        cache.set("b", "2".into(), Ttl::secs(600)).await,
        cache.incr_by("count", 1).await.map(drop),
        cache
            .compare_and_set(
                "c",
                infra_core::cache::Expected::Absent,
                "3".into(),
                Ttl::secs(600),
            )
            .await
            .map(drop),
        store.take(&bucket(1)).await.map(drop),
    ] {
        let error = refused.expect_err("no memory");
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        assert!(error.had_no_effect(), "{error}");
    }
    let errors: String = other.run("INFO errorstats").await;
    assert!(
        errors.contains("errorstat_OOM:count=4\r"),
        "each was sent once: {errors}"
    );
    assert_eq!(cache.get("a").await.unwrap().unwrap(), "1", "reads go on");
    let () = other.run("CONFIG SET maxmemory 0").await;
    cache.set("b", "2".into(), Ttl::secs(600)).await.unwrap();
    assert_eq!(store.take(&bucket(1)).await.unwrap()[0].remaining, 998);
    ground::recovered(&cache).await;
}
