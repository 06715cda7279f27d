//! Breaker policies and rate limit rules that follow a configuration centre.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use infra_core::breaker::{Breaker, BreakerProvider, Breakers, Outcome, State};
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite};
use infra_core::rate_limit::{Limiter, LimiterDependencies, RateLimiterExt};
use infra_core::{breaker, rate_limit};
use infra_memory::MemoryCoordinator;

async fn put(center: &dyn ConfigCenter, key: &str, value: &str) {
    let value = Bytes::copy_from_slice(value.as_bytes());
    center
        .write(vec![ConfigWrite::set(key, value)])
        .await
        .expect("written");
}

/// Waits until `holds`, for five seconds of paused time at most.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

fn fail(breaker: &dyn Breaker, times: usize) {
    for _ in 0..times {
        breaker
            .try_acquire()
            .expect("closed")
            .record(Outcome::Failure, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn breaker_policies_follow_the_centre_without_losing_state() {
    let center = Arc::new(MemoryCoordinator::new());
    put(
        &*center,
        "breakers/users.json",
        r#"{"failureThreshold":3,"openStateTimeout":"1m"}"#,
    )
    .await;
    put(&*center, "breakers-other/users.json", r#"{"failureThreshold":1}"#).await;
    let breakers = Breakers::new(breaker::BreakerConfig::development()).expect("valid");
    let (policies, _following) = breakers
        .follow(center.clone())
        .await
        .expect("the centre is there");
    let users = breakers.breaker("users");
    let others = breakers.breaker("others");
    fail(&*users, 2);
    assert_eq!(users.state(), State::Closed);

    put(&*center, "breakers/users.json", r#"{"failureThreshold":0}"#).await;
    eventually("the bad policy is reported", async || {
        policies.last_error().is_some()
    })
    .await;
    put(&*center, "breakers/default.json", r#"{"failureThreshold":2}"#).await;
    eventually("the default has changed", async || {
        policies.current().contains_key("default")
    })
    .await;
    fail(&*others, 2);
    assert_eq!(others.state(), State::Open);
    fail(&*users, 1);
    assert_eq!(
        users.state(),
        State::Open,
        "three failures, counted across the changes"
    );

    put(&*center, "breakers/users.json", r#"{"openStateTimeout":"1s"}"#).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    eventually("the shorter time open holds", async || {
        users.state() == State::HalfOpen
    })
    .await;
    assert_eq!(others.state(), State::Open);
    center.delete("breakers/users.json").await.expect("deleted");
    eventually("back to the default", async || {
        !policies.current().contains_key("users")
    })
    .await;
    assert_eq!(users.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_rules_follow_the_centre_without_losing_buckets() {
    let center = Arc::new(MemoryCoordinator::new());
    put(
        &*center,
        "ratelimit/login.json",
        r#"{"mode":"local","rate":0.001,"capacity":5,"description":"log-ins"}"#,
    )
    .await;
    put(
        &*center,
        "ratelimit/rules.json",
        r#"{"send":{"rate":30.0,"capacity":60},"sms":{"rate":0.5,"capacity":2}}"#,
    )
    .await;
    let limiter = Limiter::new(
        rate_limit::RateLimitConfig::development(),
        LimiterDependencies::new(),
    )
    .expect("valid");
    let (rules, _following) = limiter.follow(center.clone()).await.expect("the centre is there");
    assert_eq!(limiter.rule_names(), ["login", "send", "sms"]);
    for _ in 0..4 {
        assert!(limiter.check("user", "login").await.expect("a decision").allowed);
    }

    put(&*center, "ratelimit/login.json", r#"{"rate":-1,"capacity":5}"#).await;
    eventually("the bad rule is reported", async || rules.last_error().is_some()).await;
    put(
        &*center,
        "ratelimit/login.json",
        r#"{"rate":0.001,"capacity":50}"#,
    )
    .await;
    eventually("the new rule holds", async || {
        limiter.check("other", "login").await.expect("a decision").limit == 50
    })
    .await;
    assert!(limiter.check("user", "login").await.expect("a decision").allowed);
    assert!(
        !limiter.check("user", "login").await.expect("a decision").allowed,
        "one was left"
    );

    put(
        &*center,
        "ratelimit/again.json",
        r#"{"sms":{"rate":9,"capacity":9}}"#,
    )
    .await;
    eventually("the double is reported", async || {
        rules
            .last_error()
            .is_some_and(|rejection| rejection.error.message().contains("sms"))
    })
    .await;
    center.delete("ratelimit/rules.json").await.expect("deleted");
    eventually("an unknown rule denies", async || {
        !limiter.check("user", "send").await.expect("a decision").allowed
    })
    .await;
}
