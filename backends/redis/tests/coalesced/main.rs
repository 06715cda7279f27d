//! Reads of many tasks that travel together, on a real server and on a cluster: each task gets what it asked for.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail like tests"
)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use infra_core::assembly::BackendOptions;
use infra_core::cache::KeyValue;
use infra_core::config::{BackendUrl, Host};
use infra_core::{ErrorKind, Result, Ttl};
use infra_redis::{RedisCache, RedisConfig, Topology};
use infra_testkit::conformance::{Disturbance, Proxies};
use infra_testkit::{servers, unique};

const KEYS: usize = 300;
/// As many tasks as could not go by themselves.
const TASKS: usize = 900;

fn config(server: &str) -> Option<RedisConfig> {
    let mut config = RedisConfig::development();
    config
        .take_url(&BackendUrl::parse(&servers::require(server)?).unwrap())
        .unwrap();
    Some(
        config
            .with_key_prefix(format!("{}:", unique("coalesced")))
            .with_coalesced_reads(true),
    )
}

/// Every third key is absent.
fn expected(number: usize) -> Option<Bytes> {
    (!number.is_multiple_of(3)).then(|| format!("value-{number}").into())
}

async fn read_all(cache: &RedisCache) -> Vec<Result<Option<Bytes>>> {
    let reading = (0..TASKS).map(|task| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(&format!("key-{}", task % KEYS)).await })
    });
    join_all(reading)
        .await
        .into_iter()
        .map(|read| read.unwrap())
        .collect()
}

async fn everybody_gets_what_he_asked_for(server: &str) {
    let Some(config) = config(server) else { return };
    let cache = RedisCache::connect(config).await.unwrap();
    for number in 0..KEYS {
        if let Some(value) = expected(number) {
            cache
                .set(&format!("key-{number}"), value, Ttl::secs(60))
                .await
                .unwrap();
        }
    }
    for _ in 0..5 {
        for (task, read) in read_all(&cache).await.into_iter().enumerate() {
            assert_eq!(read.unwrap(), expected(task % KEYS), "task {task}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_gets_what_he_asked_for_on_one_server() {
    everybody_gets_what_he_asked_for("redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_gets_what_he_asked_for_on_a_cluster() {
    everybody_gets_what_he_asked_for("redis-cluster").await;
}

#[tokio::test]
async fn whoever_gives_up_keeps_nobody_else_from_his_answer() {
    let Some(config) = config("redis") else { return };
    let cache = RedisCache::connect(config).await.unwrap();
    cache.set("key-1", "value-1".into(), Ttl::secs(60)).await.unwrap();
    for _ in 0..20 {
        let impatient = join_all((0..200).map(|_| tokio::time::timeout(Duration::ZERO, cache.get("key-1"))));
        let patient = join_all((0..200).map(|_| cache.get("key-1")));
        let (_, patient) = tokio::join!(impatient, patient);
        for read in patient {
            assert_eq!(read.unwrap(), Some("value-1".into()));
        }
    }
}

#[tokio::test]
async fn an_outage_is_told_to_each_of_them() {
    let Some(config) = config("redis") else { return };
    let proxies = Proxies::to(&config.hosts[0]);
    let address = proxies.connect().unwrap();
    let host = Host::new(address.ip().to_string(), Some(address.port()));
    let cache = RedisCache::connect(config.with_hosts([host], Topology::Single))
        .await
        .unwrap();
    proxies.disturb(&Disturbance::GoAway).unwrap();
    for read in read_all(&cache).await {
        let error = read.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    proxies.disturb(&Disturbance::ComeBack).unwrap();
    let back = infra_testkit::time::eventually(Duration::from_secs(20), async || {
        cache.get("key-1").await.is_ok_and(|found| found.is_none())
    });
    assert!(back.await, "it did not come back");
}
