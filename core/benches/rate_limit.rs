//! What a local rate limit check costs, beside governor's.
//!
//! Both sides have the same quota, ten per second and a million at once: one key is asked faster than that, so that most
//! checks are denied; of ten thousand keys every check passes. governor decides by one word per key (GCRA) and says no more than yes, or how long
//! to wait; a check here also tells what is left and when the bucket is full.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::FutureExt;
use governor::RateLimiter as Governor;
use infra_core::rate_limit::{
    Check, Limiter, LimiterDependencies, LocalBuckets, Quota, RateLimitConfig, RateLimiter, Rule,
};
use support::{Case, compare};

const KEYS: usize = 10_000;

fn main() {
    let keys: Vec<String> = (0..KEYS).map(|n| format!("user:{n}")).collect();
    let rate = NonZeroU32::MIN.saturating_add(9);
    let burst = NonZeroU32::MIN.saturating_add(999_999);
    let keyed = Governor::keyed(governor::Quota::per_second(rate).allow_burst(burst));
    let quota = Quota::new(10.0, 1_000_000).expect("a valid quota");
    let buckets = LocalBuckets::new(1_000_000);
    let config = RateLimitConfig::development().with_rule("rule", Rule::new(10.0, 1_000_000));
    let limiter: Arc<dyn RateLimiter> =
        Arc::new(Limiter::new(config, LimiterDependencies::new()).expect("a valid configuration"));
    for key in &keys {
        let _ = keyed.check_key(key);
        buckets.take_now(key, quota, 1).expect("room");
        limiter.check_n(key, "rule", 1).now_or_never();
    }

    let measured = compare(
        "one key, mostly denied",
        vec![
            Case::new("governor, keyed", || keyed.check_key(black_box(&keys[0]))),
            Case::new("LocalBuckets::take_now", || {
                buckets.take_now(black_box(&keys[0]), quota, 1)
            }),
            Case::new("dyn RateLimiter: check_n", || {
                limiter.check_n(black_box(&keys[0]), "rule", 1).now_or_never()
            }),
        ],
    );

    let mut turns = [0_usize; 3];
    let mut next = move |case: usize| {
        turns[case] = (turns[case] + 7_919) % KEYS;
        turns[case]
    };
    let next = std::cell::RefCell::new(&mut next);
    let key = |case| &keys[(next.borrow_mut())(case)];
    let allowed = compare(
        "ten thousand keys in turn, allowed",
        vec![
            Case::new("governor, keyed", || keyed.check_key(key(0))),
            Case::new("LocalBuckets::take_now", || buckets.take_now(key(1), quota, 1)),
            Case::new("dyn RateLimiter: check_n", || {
                limiter.check_n(key(2), "rule", 1).now_or_never()
            }),
        ],
    );

    let pair = [Check::new("user:1", "rule"), Check::new("user:2", "rule")];
    compare(
        "two checks, all or nothing",
        vec![Case::new("dyn RateLimiter: check_all", || {
            limiter.check_all(&pair).now_or_never()
        })],
    );

    for (what, measured) in [("denied", measured), ("allowed", allowed)] {
        let ratio = measured[1].median / measured[0].median;
        println!("local check beside governor, {what}: {ratio:.2}x");
    }
}
