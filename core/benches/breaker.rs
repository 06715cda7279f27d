//! What a breaker costs per guarded call, beside the call without one. Goal: less than 100 ns more.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;

use futures_util::FutureExt;
use infra_core::breaker::{BreakerConfig, BreakerExt, BreakerProvider, Breakers, Force, Outcome, Policy};
use infra_core::{Error, ErrorKind, Result};
use support::{Case, compare};

async fn succeed() -> Result<u64> {
    Ok(black_box(7))
}

async fn refuse() -> Result<u64> {
    Err(Error::new(ErrorKind::NotFound, "no such user"))
}

fn main() {
    let slow_calls = Policy::default().with_slow_calls(Duration::from_secs(1), 0.5);
    let config = BreakerConfig::production().with_default_policy(slow_calls);
    let breakers = Breakers::new(config).expect("a valid configuration");
    let breaker = breakers.breaker("resource");
    let held_open = breakers.breaker("held open");
    held_open.force(Force::Open);

    let measured = compare(
        "a successful call",
        vec![
            Case::new("direct", || succeed().now_or_never()),
            Case::new("permit only: acquire and record", || {
                breaker
                    .try_acquire()
                    .map(|permit| permit.record(Outcome::Success, Duration::ZERO))
            }),
            Case::new("permit given back without a record", || {
                breaker.try_acquire().map(drop)
            }),
            Case::new("BreakerExt::call", || breaker.call(succeed).now_or_never()),
            Case::new("looked up by name, then call", || {
                breakers
                    .breaker(black_box("resource"))
                    .call(succeed)
                    .now_or_never()
            }),
        ],
    );
    compare(
        "a call that fails by the caller's fault",
        vec![
            Case::new("direct", || refuse().now_or_never()),
            Case::new("BreakerExt::call", || breaker.call(refuse).now_or_never()),
        ],
    );
    compare(
        "a call that is refused",
        vec![Case::new("open breaker", || {
            held_open.call(succeed).now_or_never()
        })],
    );

    let more = measured[3].median - measured[0].median;
    println!("\nguarded call: {more:+.1} ns (goal: less than 100 ns)");
}
