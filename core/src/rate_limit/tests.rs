//! The behaviour of the limiter and of local buckets, on paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::*;
use crate::backend::Backend;
use crate::capability::Capabilities;
use crate::error::{Error, ErrorKind, Result, Retry};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn quota(rate: f64, capacity: u64) -> Quota {
    Quota::new(rate, capacity).expect("a valid quota")
}

fn limiter(config: RateLimitConfig) -> Limiter {
    Limiter::new(config, LimiterDependencies::new()).expect("a valid configuration")
}

fn local(rate: f64, capacity: u64) -> Limiter {
    limiter(RateLimitConfig::development().with_rule("rule", Rule::new(rate, capacity)))
}

/// A shared store that fails on command.
#[derive(Debug)]
struct Store {
    buckets: LocalBuckets,
    trips: AtomicUsize,
    down: AtomicBool,
    hangs: AtomicBool,
}

impl Store {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            buckets: LocalBuckets::new(1_000),
            trips: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl Backend for Store {
    fn backend(&self) -> &'static str {
        "shared"
    }
    fn capabilities(&self) -> &Capabilities {
        self.buckets.capabilities()
    }
    async fn health(&self) -> Result<()> {
        Ok(())
    }
    async fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl RateLimitStore for Store {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "connection refused"));
        }
        self.buckets.take(takes).await
    }
}

fn distributed(store: &Arc<Store>, on_failure: OnFailure) -> Limiter {
    let config = RateLimitConfig::production()
        .with_rule("rule", Rule::new(0.001, 2))
        .with_on_failure(on_failure);
    let dependencies = LimiterDependencies::new().with_store(Arc::clone(store) as Arc<dyn RateLimitStore>);
    Limiter::new(config, dependencies).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_burst_then_the_steady_rate_and_the_wait_is_exact() {
    let limiter = local(2.0, 3);
    for remaining in [2, 1, 0] {
        let decision = limiter.check("user", "rule").await.expect("a decision");
        assert_eq!((decision.allowed, decision.remaining), (true, remaining));
    }
    let denied = limiter.check("user", "rule").await.expect("a decision");
    assert_eq!(denied, Decision::deny(3, 0, 500 * MS, 1_500 * MS));
    tokio::time::advance(499 * MS).await;
    assert!(!limiter.check("user", "rule").await.expect("a decision").allowed);
    tokio::time::advance(MS).await;
    assert!(limiter.check("user", "rule").await.expect("a decision").allowed);
    assert!(
        limiter.check("other", "rule").await.expect("a decision").allowed,
        "buckets are apart"
    );
}

#[test]
fn racers_spend_each_token_once() {
    let buckets = LocalBuckets::new(100);
    let quota = quota(1e-6, 1_000);
    let taken: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    (0..100)
                        .filter(|_| buckets.take_now("hot", quota, 1).expect("a decision").allowed)
                        .count()
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().expect("no panic"))
            .sum()
    });
    assert_eq!(taken, 1_000);
}

#[tokio::test(start_paused = true)]
async fn several_checks_take_all_or_nothing() {
    let config = RateLimitConfig::development()
        .with_rule("wide", Rule::new(1.0, 10))
        .with_rule("narrow", Rule::new(1.0, 1));
    let limiter = limiter(config);
    let both = [
        Check::new("user", "wide").with_cost(3),
        Check::new("user", "narrow"),
    ];
    let passed = limiter.check_all(&both).await.expect("decisions");
    assert!(passed.iter().all(|decision| decision.allowed));
    let denied = limiter.check_all(&both).await.expect("decisions");
    assert_eq!(
        denied.iter().map(|decision| decision.allowed).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(
        denied[0].remaining, 7,
        "nothing was taken from the one that held enough"
    );
    assert_eq!(Decision::strictest(&denied), Some(denied[1]));
    // The same bucket twice must hold the sum.
    let twice = [
        Check::new("user", "wide").with_cost(4),
        Check::new("user", "wide").with_cost(4),
    ];
    let denied = limiter.check_all(&twice).await.expect("decisions");
    assert!(denied[0].allowed && !denied[1].allowed);
    assert_eq!(denied[1].retry_after, SECOND);
    assert_eq!(denied[0].remaining, 7);
}

#[tokio::test(start_paused = true)]
async fn acquire_waits_for_a_token_and_cancelling_it_loses_none() {
    let limiter = local(1.0, 1);
    limiter.check("user", "rule").await.expect("the only token");
    let started = Instant::now();
    {
        let waiting = limiter.acquire("user", "rule", 5 * SECOND);
        assert!(tokio::time::timeout(SECOND / 2, waiting).await.is_err());
    }
    limiter
        .acquire("user", "rule", 5 * SECOND)
        .await
        .expect("a token");
    assert_eq!(started.elapsed(), SECOND, "the one that gave up took nothing");

    let refused = limiter
        .acquire("user", "rule", SECOND / 2)
        .await
        .expect_err("too short");
    assert_eq!(
        (refused.kind(), refused.retry()),
        (ErrorKind::RateLimited, Retry::After(SECOND))
    );
    assert_eq!(started.elapsed(), SECOND, "told at once, not after the wait");
    let unknown = limiter
        .acquire("user", "none", 5 * SECOND)
        .await
        .expect_err("no rule");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_pass_is_refused_before_anything_is_taken() {
    let limiter = local(1.0, 5);
    for (resource, rule, cost) in [
        ("", "rule", 1),
        ("user", "", 1),
        ("user", "rule", 0),
        ("user", "rule", 6),
    ] {
        let error = limiter.check_n(resource, rule, cost).await.expect_err("invalid");
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidArgument,
            "{resource:?} {rule:?} {cost}"
        );
    }
    assert!(
        limiter
            .check_n("user", "rule", 5)
            .await
            .expect("a decision")
            .allowed
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_rule_denies_unless_configured_otherwise() {
    let denied = local(1.0, 1).check("user", "typo").await.expect("a decision");
    assert_eq!((denied.allowed, denied.basis), (false, Basis::UnknownRule));
    let config = RateLimitConfig::development().with_unknown_rule(UnknownRule::Allow);
    assert!(
        limiter(config)
            .check("user", "typo")
            .await
            .expect("a decision")
            .allowed
    );

    let limiter = local(1.0, 1);
    let mixed = [Check::new("user", "rule"), Check::new("user", "typo")];
    let decisions = limiter.check_all(&mixed).await.expect("decisions");
    assert!(!decisions[1].allowed);
    assert!(
        limiter.check("user", "rule").await.expect("a decision").allowed,
        "nothing was taken"
    );
}

#[tokio::test(start_paused = true)]
async fn rules_change_without_losing_buckets_and_bad_ones_are_refused() {
    let limiter = local(1.0, 10);
    limiter.check_n("user", "rule", 8).await.expect("a decision");
    let change = |rule| limiter.apply(BTreeMap::from([("rule".to_owned(), rule)]));
    change(Rule::new(5.0, 20)).expect("valid");
    let after = limiter.check("user", "rule").await.expect("a decision");
    assert_eq!(
        (after.limit, after.remaining),
        (20, 1),
        "the two that were left, less one"
    );
    for (rate, capacity) in [
        (0.0, 1),
        (-3.0, 1),
        (f64::NAN, 1),
        (f64::INFINITY, 1),
        (1.0, 0),
        (1e300, u64::MAX),
    ] {
        let error = change(Rule::new(rate, capacity)).expect_err("invalid");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains("rule."), "{error}");
    }
    assert_eq!(limiter.check("user", "rule").await.expect("a decision").limit, 20);
    let distributed = change(Rule::new(1.0, 1).with_mode(Mode::Distributed)).expect_err("no store");
    assert!(distributed.message().contains("rule.mode"), "{distributed}");
    limiter
        .apply(BTreeMap::new())
        .expect("back to the configured rule");
    assert_eq!(limiter.check("user", "rule").await.expect("a decision").limit, 10);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_is_decided_without() {
    for (on_failure, allowed, basis) in [
        (OnFailure::Allow, true, Basis::Unavailable),
        (OnFailure::Deny, false, Basis::Unavailable),
        (OnFailure::LocalFallback, true, Basis::LocalFallback),
    ] {
        let store = Store::new();
        let limiter = distributed(&store, on_failure);
        let well = limiter.check("user", "rule").await.expect("a decision");
        assert_eq!((well.allowed, well.basis), (true, Basis::Bucket));
        store.down.store(true, Ordering::Relaxed);
        let down = limiter.check("user", "rule").await.expect("a decision");
        assert_eq!((down.allowed, down.basis), (allowed, basis), "{on_failure:?}");
        store.hangs.store(true, Ordering::Relaxed);
        let started = Instant::now();
        let hung = limiter.check("user", "rule").await.expect("a decision");
        assert_eq!((hung.allowed, hung.basis), (allowed, basis), "{on_failure:?}");
        assert_eq!(started.elapsed(), 500 * MS);
        if on_failure == OnFailure::LocalFallback {
            assert!(
                !limiter.check("user", "rule").await.expect("a decision").allowed,
                "two tokens each"
            );
        }
        store.hangs.store(false, Ordering::Relaxed);
        store.down.store(false, Ordering::Relaxed);
        assert_eq!(
            limiter.check("user", "rule").await.expect("a decision").basis,
            Basis::Bucket
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_limiters_share_the_store_in_one_trip_per_decision() {
    let store = Store::new();
    let (here, there) = (
        distributed(&store, OnFailure::Deny),
        distributed(&store, OnFailure::Deny),
    );
    assert!(here.check("user", "rule").await.expect("a decision").allowed);
    let pair = [Check::new("user", "rule"), Check::new("other", "rule")];
    assert!(
        there
            .check_all(&pair)
            .await
            .expect("decisions")
            .iter()
            .all(|decision| decision.allowed)
    );
    assert!(!here.check("user", "rule").await.expect("a decision").allowed);
    assert_eq!(store.trips.load(Ordering::Relaxed), 3);
}

#[test]
fn production_needs_a_store_and_both_profiles_are_otherwise_valid() {
    let error =
        Limiter::new(RateLimitConfig::production(), LimiterDependencies::new()).expect_err("no store");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let store = Store::new() as Arc<dyn RateLimitStore>;
    Limiter::new(
        RateLimitConfig::production(),
        LimiterDependencies::new().with_store(store),
    )
    .expect("valid");
    let mut config = RateLimitConfig::development()
        .with_rules_path("no-slash")
        .with_max_buckets(0);
    config.service.clear();
    let error = Limiter::new(config, LimiterDependencies::new()).expect_err("invalid");
    assert!(error.message().starts_with("3 problems"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn buckets_are_bounded_and_full_ones_make_room() {
    let buckets = LocalBuckets::new(64);
    let quota = quota(1.0, 2);
    let take = |key: &str| buckets.take_now(key, quota, 1);
    let refused = (0..1_000).filter(|n| take(&format!("user:{n}")).is_err()).count();
    assert!(buckets.len() <= 64);
    assert_eq!(refused, 1_000 - buckets.len());
    let error = (0..1_000)
        .find_map(|n| take(&format!("late:{n}")).err())
        .expect("no room");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);

    tokio::time::advance(2 * SECOND).await;
    for n in 0..64 {
        // Full again, so whoever comes next replaces them. Any that share a shard follow each other a second apart.
        tokio::time::advance(2 * SECOND).await;
        assert!(take(&format!("next:{n}")).expect("room").allowed);
    }
    assert!(buckets.len() <= 64);
}

#[tokio::test(start_paused = true)]
async fn idle_buckets_are_forgotten_as_others_come() {
    let buckets = LocalBuckets::new(1_000_000);
    let quota = quota(10.0, 1);
    for n in 0..10_000 {
        tokio::time::advance(MS).await;
        buckets.take_now(&format!("user:{n}"), quota, 1).expect("room");
    }
    assert!(
        buckets.len() < 1_500,
        "those of the last second and a bit: {}",
        buckets.len()
    );
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_everything_is_closed() {
    let limiter = local(1.0, 1);
    limiter.shutdown(SECOND).await.expect("closes");
    limiter.shutdown(SECOND).await.expect("again");
    let check = limiter.check("user", "rule").await.expect_err("closed");
    let all = limiter
        .check_all(&[Check::new("user", "rule")])
        .await
        .expect_err("closed");
    let health = limiter.health().await.expect_err("closed");
    for error in [check, all, health] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

#[test]
fn local_decisions_are_ready_at_once() {
    let limiter = local(1.0, 1);
    assert!(limiter.check_n("user", "rule", 1).now_or_never().is_some());
}
