//! The hash of a bucket: exact, written only when tokens are taken, and gone when it is full.

use std::collections::HashMap;
use std::time::Duration;

use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_core::rate_limit::{Decision, Quota, RateLimitStore, Take};
use infra_core::{Backend, ErrorKind};
use infra_redis::redis::aio::MultiplexedConnection;
use infra_redis::redis::{AsyncCommands, Client};
use infra_redis::{RedisConfig, RedisRateLimitStore};
use infra_testkit::{servers, time, unique};

/// The prefix of every key here.
const PREFIX: &str = "buckets:";

pub(crate) async fn store() -> Option<(RedisRateLimitStore, MultiplexedConnection)> {
    let url = servers::require("redis")?;
    let mut config = RedisConfig::development()
        .with_key_prefix(PREFIX)
        .with_request_timeout(Duration::from_secs(30));
    config.take_url(&BackendUrl::parse(&url).unwrap()).unwrap();
    let store = RedisRateLimitStore::connect(config).await.expect("connected");
    let other = Client::open(url).unwrap();
    Some((store, other.get_multiplexed_async_connection().await.unwrap()))
}

fn quota(rate: f64, capacity: u64) -> Quota {
    Quota::new(rate, capacity).unwrap()
}

async fn take(store: &RedisRateLimitStore, key: &str, quota: Quota, cost: u32) -> Decision {
    store.take(&[Take::new(key, quota, cost)]).await.unwrap()[0]
}

async fn hash(other: &mut MultiplexedConnection, key: &str) -> HashMap<String, String> {
    other.hgetall(format!("{PREFIX}{key}")).await.unwrap()
}

#[tokio::test]
async fn a_denied_take_writes_nothing() {
    let Some((store, mut other)) = store().await else {
        return;
    };
    let (rich, poor) = (unique("rich"), unique("poor"));
    let slow = quota(0.5, 5);
    assert!(take(&store, &poor, slow, 5).await.allowed);
    let before = hash(&mut other, &poor).await;
    let both = [Take::new(&rich, slow, 1), Take::new(&poor, slow, 5)];
    let decisions = store.take(&both).await.unwrap();
    assert_eq!(
        (decisions[0].allowed, decisions[0].remaining, decisions[1].allowed),
        (true, 5, false)
    );
    assert_eq!(hash(&mut other, &poor).await, before);
    assert!(hash(&mut other, &rich).await.is_empty(), "a bucket that is full");
}

#[tokio::test]
async fn an_empty_bucket_gains_at_the_new_rate_after_a_denial() {
    let Some((store, _)) = store().await else {
        return;
    };
    let (key, hardly) = (unique("changed"), quota(0.000_001, 5));
    assert!(take(&store, &key, hardly, 5).await.allowed);
    let quick = quota(20.0, 5);
    assert!(!take(&store, &key, quick, 1).await.allowed);
    let gained = || async { take(&store, &key, quick, 1).await.allowed };
    assert!(
        time::eventually(Duration::from_secs(20), gained).await,
        "no token at the new rate"
    );
}

#[tokio::test]
async fn a_bucket_that_is_full_again_is_forgotten_and_none_sooner() {
    let Some((store, mut other)) = store().await else {
        return;
    };
    let key = unique("expiring");
    let decision = take(&store, &key, quota(10.0, 20), 15).await;
    let left: i64 = other.pttl(format!("{PREFIX}{key}")).await.unwrap();
    let full_after = decision.reset_after.as_millis() as i64;
    assert!(left <= full_after + 2 && left > 0, "{left} ms of {full_after} ms");
    let gone = || {
        let (mut other, key) = (other.clone(), key.clone());
        async move { hash(&mut other, &key).await.is_empty() }
    };
    assert!(
        time::eventually(Duration::from_secs(20), gone).await,
        "it stays for ever"
    );
    // The largest and slowest bucket is full in thirty thousand years.
    let slowest = take(&store, &unique("slowest"), quota(0.000_001, 1_000_000), 1_000_000).await;
    assert_eq!(slowest.reset_after, Duration::from_secs(1_000_000_000_000));
}

#[tokio::test]
async fn no_fraction_of_a_token_is_lost_or_made_up() {
    let Some((store, mut other)) = store().await else {
        return;
    };
    // Rates and times whose product has more bits than a double.
    for (rate, capacity, elapsed, cost) in [
        (999_999.999_999, 1_000_000, 1_000_000_u64, 500_000),
        (123.456_789, 1_000_000, 8_100_000_001, 500_000),
        (0.000_001, 3, 2_999_999_999_999, 1),
        (3.0, 500, 111_333_333, 200),
        (77_777.777_777, 999_999, 12_857_130, 500_000),
    ] {
        let (key, quota) = (unique("exact"), quota(rate, capacity));
        let (seconds, micros): (u64, u64) = infra_redis::redis::cmd("TIME")
            .query_async(&mut other)
            .await
            .unwrap();
        let at = seconds * 1_000_000 + micros - elapsed;
        let fields = [
            ("tokens", "0.000000000001".to_owned()),
            ("at", at.to_string()),
            ("capacity", capacity.to_string()),
            ("rate", quota.micro_rate().to_string()),
        ];
        let () = other
            .hset_multiple(format!("{PREFIX}{key}"), &fields)
            .await
            .unwrap();
        assert!(take(&store, &key, quota, cost).await.allowed, "{rate}");
        let now_has = hash(&mut other, &key).await;
        let passed = u128::from(now_has["at"].parse::<u64>().unwrap() - at);
        let expected = (1 + passed * u128::from(quota.micro_rate()))
            .min(u128::from(capacity) * 1_000_000_000_000)
            - u128::from(cost) * 1_000_000_000_000;
        let units: u128 = now_has["tokens"].replace('.', "").parse().unwrap();
        assert_eq!(units, expected, "{rate} per second for {passed} µs");
    }
}

#[tokio::test]
async fn what_is_no_bucket_is_told_and_left_alone() {
    let Some((store, mut other)) = store().await else {
        return;
    };
    let (key, quota) = (unique("foreign"), quota(1.0, 5));
    let () = other
        .hset_multiple(format!("{PREFIX}{key}"), &[("tokens", "many"), ("at", "1")])
        .await
        .unwrap();
    let error = store.take(&[Take::new(&key, quota, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{error}");
    assert!(error.had_no_effect() && error.message().contains(&key), "{error}");
    assert_eq!(hash(&mut other, &key).await.len(), 2);

    let text = unique("text");
    let () = other.set(format!("{PREFIX}{text}"), "text").await.unwrap();
    let error = store.take(&[Take::new(&text, quota, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    store.health().await.expect("it goes on");
}
