//! The behaviour of breakers, on paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};

use super::*;
use crate::error::{Error, ErrorKind, Retry};
use crate::watch::WatchEvent;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn policy() -> Policy {
    Policy::new(3, 2, 10 * SECOND).with_probes(2, 5 * SECOND)
}

fn breakers(policy: Policy) -> Breakers {
    Breakers::new(BreakerConfig::development().with_default_policy(policy)).expect("a valid policy")
}

fn breaker(policy: Policy) -> Arc<dyn Breaker> {
    breakers(policy).breaker("resource")
}

fn end(breaker: &dyn Breaker, outcome: Outcome, elapsed: Duration) {
    breaker
        .try_acquire()
        .expect("calls are let through")
        .record(outcome, elapsed);
}

fn fail(breaker: &dyn Breaker, times: usize) {
    for _ in 0..times {
        end(breaker, Outcome::Failure, MS);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let breaker = breaker(policy());
    fail(&*breaker, 2);
    end(&*breaker, Outcome::Success, MS);
    fail(&*breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
    fail(&*breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn while_open_it_refuses_without_calling_and_tells_the_time_left() {
    let breaker = breaker(policy());
    fail(&*breaker, 3);
    tokio::time::advance(4 * SECOND).await;
    let error = breaker
        .call(|| async { panic!("must not be called") as Result<(), Error> })
        .await
        .expect_err("open");
    assert_eq!(error.kind(), ErrorKind::CircuitOpen);
    assert_eq!(error.retry(), Retry::After(6 * SECOND));
    assert!(error.had_no_effect());
    assert!(error.message().contains("resource"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_exactly_as_many_probes_as_configured() {
    let breaker = breaker(policy());
    fail(&*breaker, 3);
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    let first = breaker.try_acquire().expect("the first probe");
    let second = breaker.try_acquire().expect("the second probe");
    let refused = breaker.try_acquire().expect_err("no third");
    assert_eq!(
        (refused.kind(), refused.retry()),
        (ErrorKind::CircuitOpen, Retry::Backoff)
    );
    assert_eq!(first.time_limit(), Some(5 * SECOND));

    drop(first); // gives its place back, records nothing
    assert_eq!(breaker.state(), State::HalfOpen);
    let third = breaker.try_acquire().expect("the place that was given back");
    second.record(Outcome::Success, MS);
    assert_eq!(breaker.state(), State::HalfOpen, "one success of two");
    third.record(Outcome::Success, MS);
    assert_eq!(breaker.state(), State::Closed);
    fail(&*breaker, 2);
    assert_eq!(
        breaker.state(),
        State::Closed,
        "the failures from before are forgotten"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_or_slow_probe_opens_it_again_for_the_whole_time() {
    let breaker = breaker(policy().with_slow_calls(SECOND, 0.9));
    fail(&*breaker, 3);
    for (outcome, elapsed) in [(Outcome::Failure, MS), (Outcome::Success, SECOND)] {
        tokio::time::advance(10 * SECOND).await;
        end(&*breaker, outcome, elapsed);
        assert_eq!(breaker.state(), State::Open);
        let error = breaker.try_acquire().expect_err("open again");
        assert_eq!(error.retry_after(), Some(10 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_times_out_and_counts_as_a_failure() {
    let breaker = breaker(policy());
    fail(&*breaker, 3);
    tokio::time::advance(10 * SECOND).await;
    let error = breaker
        .call(std::future::pending::<Result<(), Error>>)
        .await
        .expect_err("given up");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(breaker.state(), State::Open);

    // A holder that neither gives up nor records is found out all the same.
    tokio::time::advance(10 * SECOND).await;
    let hung = breaker.try_acquire().expect("a probe");
    tokio::time::advance(4 * SECOND).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(breaker.state(), State::Open);
    hung.record(Outcome::Success, 6 * SECOND);
    assert_eq!(breaker.state(), State::Open, "its late end counts as nothing");
}

#[tokio::test(start_paused = true)]
async fn the_share_of_failures_opens_it_only_with_enough_calls() {
    let breaker = breaker(Policy::new(100, 1, SECOND).with_window(10 * SECOND, 10, 0.5));
    for _ in 0..4 {
        end(&*breaker, Outcome::Failure, MS);
        end(&*breaker, Outcome::Success, MS);
    }
    fail(&*breaker, 1);
    assert_eq!(breaker.state(), State::Closed, "nine calls are not enough");
    fail(&*breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn old_calls_leave_the_window() {
    let breaker = breaker(Policy::new(100, 1, SECOND).with_window(10 * SECOND, 10, 0.5));
    fail(&*breaker, 9);
    tokio::time::advance(11 * SECOND).await;
    fail(&*breaker, 9);
    assert_eq!(breaker.state(), State::Closed);
    fail(&*breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_share_of_slow_calls_opens_it() {
    let policy = Policy::new(100, 1, SECOND)
        .with_window(10 * SECOND, 10, 0.5)
        .with_slow_calls(200 * MS, 0.8);
    let breaker = breaker(policy);
    for _ in 0..2 {
        end(&*breaker, Outcome::Success, 199 * MS);
    }
    for _ in 0..7 {
        end(&*breaker, Outcome::Success, 200 * MS);
    }
    assert_eq!(breaker.state(), State::Closed);
    end(&*breaker, Outcome::Success, 200 * MS);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_faults_and_cancellation_do_not_count() {
    let breaker = breaker(policy());
    for kind in [
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::Cancelled,
    ] {
        for _ in 0..5 {
            let _ = breaker
                .call(|| async move { Err::<(), _>(Error::new(kind, "x")) })
                .await;
        }
    }
    for _ in 0..5 {
        assert!(
            breaker
                .call(std::future::pending::<Result<(), Error>>)
                .now_or_never()
                .is_none()
        );
    }
    assert_eq!(breaker.state(), State::Closed);
    for _ in 0..3 {
        let _ = breaker
            .call(|| async { Err::<(), _>(Error::new(ErrorKind::Timeout, "x")) })
            .await;
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn calls_that_began_before_a_transition_count_as_nothing() {
    let breaker = breaker(policy());
    let early: Vec<_> = (0..3).map(|_| breaker.try_acquire().expect("closed")).collect();
    fail(&*breaker, 3);
    tokio::time::advance(10 * SECOND).await;
    end(&*breaker, Outcome::Success, MS);
    end(&*breaker, Outcome::Success, MS);
    assert_eq!(breaker.state(), State::Closed);
    for permit in early {
        permit.record(Outcome::Failure, 10 * SECOND);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_operator_overrules_it_and_it_goes_on_from_where_it_was() {
    let breaker = breaker(policy());
    fail(&*breaker, 2);
    breaker.force(Force::Open);
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(
        breaker.try_acquire().expect_err("held open").kind(),
        ErrorKind::CircuitOpen
    );
    breaker.force(Force::Closed);
    fail(&*breaker, 50);
    assert_eq!(breaker.state(), State::Closed);
    breaker.force(Force::Auto);
    assert_eq!(breaker.state(), State::Closed);
    fail(&*breaker, 1);
    assert_eq!(
        breaker.state(),
        State::Open,
        "the two failures from before still count"
    );
}

#[tokio::test(start_paused = true)]
async fn policies_change_without_losing_state_and_bad_ones_are_refused_whole() {
    let breakers = breakers(policy());
    let (open, closed) = (breakers.breaker("open"), breakers.breaker("closed"));
    fail(&*open, 3);
    fail(&*closed, 2);
    let longer = Policy::new(4, 1, 30 * SECOND);
    breakers
        .apply(BTreeMap::from([(DEFAULT_POLICY.to_owned(), longer.clone())]))
        .expect("valid");
    assert_eq!(
        open.try_acquire().expect_err("still open").retry_after(),
        Some(30 * SECOND)
    );
    fail(&*closed, 1);
    assert_eq!(closed.state(), State::Closed, "three of four");
    fail(&*closed, 1);
    assert_eq!(closed.state(), State::Open, "the two from before were kept");

    let error = breakers
        .apply(BTreeMap::from([
            (DEFAULT_POLICY.to_owned(), Policy::new(0, 1, SECOND)),
            ("open".to_owned(), Policy::new(1, 1, 5 * SECOND)),
        ]))
        .expect_err("one is invalid");
    assert!(error.message().contains("default.failureThreshold"), "{error}");
    assert_eq!(
        open.try_acquire().expect_err("open").retry_after(),
        Some(30 * SECOND),
        "nothing of it was applied"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_name_is_the_same_breaker_and_their_number_is_bounded() {
    let config = BreakerConfig::development()
        .with_max_breakers(2)
        .with_default_policy(policy());
    let breakers = Breakers::new(config).expect("valid");
    let first = breakers.breaker("first");
    assert!(Arc::ptr_eq(&first, &breakers.breaker("first")));
    fail(&*breakers.breaker("second"), 3); // nobody holds it, but it is open
    assert_eq!(breakers.breaker("third").name(), "overflow");
    assert_eq!(breakers.breaker("fourth").name(), "overflow");
    assert_eq!(breakers.breaker("second").state(), State::Open);
    drop(first);
    assert_eq!(
        breakers.breaker("fifth").name(),
        "fifth",
        "the idle first made room"
    );
    assert_eq!(breakers.list().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn transitions_can_be_watched() {
    let breakers = breakers(policy());
    let mut watch = breakers.watch();
    let breaker = breakers.breaker("resource");
    fail(&*breaker, 3);
    tokio::time::advance(10 * SECOND).await;
    for _ in 0..2 {
        end(&*breaker, Outcome::Success, MS);
    }
    breaker.force(Force::Open);
    for (from, to, reason) in [
        (State::Closed, State::Open, Reason::ConsecutiveFailures),
        (State::Open, State::HalfOpen, Reason::OpenStateTimeout),
        (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
        (State::Closed, State::Open, Reason::Forced),
    ] {
        let Some(WatchEvent::Put(seen)) = watch.next().await else {
            panic!("expected {reason}")
        };
        assert_eq!((seen.from, seen.to, seen.reason), (from, to, reason));
        assert_eq!(&*seen.breaker, "resource");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_survives_as_a_ticket() {
    let breaker = breaker(policy());
    for _ in 0..3 {
        let ticket = breaker.try_acquire().expect("closed").into_ticket();
        Permit::resume(&*breaker, ticket).record(Outcome::Failure, MS);
    }
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn of_many_threads_one_opens_it() {
    let breakers = breakers(policy().with_probes(4, SECOND));
    let breaker = breakers.breaker("resource");
    let mut watch = breakers.watch();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    if let Ok(permit) = breaker.try_acquire() {
                        permit.record(Outcome::Failure, MS);
                    }
                }
            });
        }
    });
    assert!(matches!(
        watch.next().now_or_never(),
        Some(Some(WatchEvent::Put(_)))
    ));
    assert!(watch.next().now_or_never().is_none(), "opened once");
}

#[test]
fn of_many_threads_exactly_the_probes_pass() {
    let breaker = breaker(Policy::new(1, 8, MS).with_probes(4, 600 * SECOND));
    fail(&*breaker, 1);
    while breaker.state() == State::Open {
        std::thread::yield_now();
    }
    let admitted = AtomicUsize::new(0);
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let permit = breaker.try_acquire();
                admitted.fetch_add(usize::from(permit.is_ok()), Ordering::Relaxed);
                barrier.wait(); // everybody has asked before anybody gives back
            });
        }
    });
    assert_eq!(admitted.into_inner(), 4);
}
