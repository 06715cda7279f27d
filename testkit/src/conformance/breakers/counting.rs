//! What a closed breaker counts, and what opens it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use infra_core::breaker::{Breaker, BreakerConfig, BreakerExt, BreakerProvider, Policy, State};
use infra_core::{Error, ErrorKind, Result};

use super::MakesBreakers;
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

pub(super) const OPEN: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// Three failures in a row or half of ten calls open it; two probes close it, one at a time.
pub(super) fn policy() -> Policy {
    Policy::new(3, 2, OPEN).with_window(Duration::from_secs(60), 10, 0.5)
}

pub(super) async fn provider(
    harness: &Harness<dyn MakesBreakers>,
    policy: Policy,
) -> std::result::Result<Arc<dyn BreakerProvider>, Failure> {
    let maker = harness.client().await?;
    maker
        .breakers(BreakerConfig::production().with_default_policy(policy))
        .premise("breakers with a valid policy")
}

pub(super) async fn breaker(
    harness: &Harness<dyn MakesBreakers>,
    policy: Policy,
) -> std::result::Result<Arc<dyn Breaker>, Failure> {
    Ok(provider(harness, policy).await?.breaker("users"))
}

pub(super) async fn succeed(breaker: &dyn Breaker) -> Result<()> {
    breaker.call(|| async { Ok(()) }).await
}

/// A call that fails with this kind; the error is what the breaker gave.
pub(super) async fn fail(breaker: &dyn Breaker, kind: ErrorKind) -> Option<Error> {
    let failure = || async move { Err::<(), _>(Error::new(kind, "asked for")) };
    breaker.call(failure).await.err()
}

pub(super) async fn fail_times(breaker: &dyn Breaker, times: u32) {
    for _ in 0..times {
        let _ = fail(breaker, ErrorKind::Unavailable).await;
    }
}

/// So many failures in a row open it, and not one less.
pub async fn breaker_001_failures_in_a_row_open_it(harness: &Harness<dyn MakesBreakers>) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    fail_times(&*breaker, 2).await;
    check_eq!(breaker.state(), State::Closed, "after 2 failures of 3");
    fail_times(&*breaker, 1).await;
    check_eq!(breaker.state(), State::Open, "after 3 failures of 3");
    Ok(())
}

/// The share of failures opens it, but only once the window holds the minimum of calls.
pub async fn breaker_002_the_share_of_failures_opens_it_from_the_minimum_of_calls(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    for call in 0..9 {
        match call % 2 {
            0 => fail_times(&*breaker, 1).await,
            _ => succeed(&*breaker).await?,
        }
        check_eq!(
            breaker.state(),
            State::Closed,
            "after {} calls, of which 10 are needed",
            call + 1
        );
    }
    fail_times(&*breaker, 1).await;
    check_eq!(
        breaker.state(),
        State::Open,
        "after 6 failures in 10 calls, half being the threshold"
    );
    Ok(())
}

/// While open it calls nothing, and its error says how long that will be so.
pub async fn breaker_003_open_it_refuses_without_calling_and_says_for_how_long(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    fail_times(&*breaker, 3).await;
    (breaker.state() == State::Open).premise("three failures open it")?;
    harness.pass(OPEN / 4).await;
    let called = Cell::new(false);
    let permit = breaker.try_acquire();
    if permit.is_ok() {
        called.set(true);
    }
    drop(permit);
    check!(!called.get(), "an open breaker let a call pass");
    let error = check_error!(
        succeed(&*breaker).await,
        ErrorKind::CircuitOpen,
        "a call of an open breaker"
    );
    check!(
        error.had_no_effect(),
        "the refusal does not say that nothing happened: {error:?}"
    );
    check_eq!(error.retry_after(), Some(OPEN * 3 / 4), "the time that is left");
    Ok(())
}

/// A success between failures ends their row.
pub async fn breaker_004_a_success_ends_a_row_of_failures(harness: &Harness<dyn MakesBreakers>) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    fail_times(&*breaker, 2).await;
    succeed(&*breaker)
        .await
        .premise("a closed breaker lets calls pass")?;
    fail_times(&*breaker, 2).await;
    check_eq!(
        breaker.state(),
        State::Closed,
        "after 2 failures, a success, 2 failures; 3 in a row open it"
    );
    Ok(())
}

/// An error that is the caller's own fault says nothing about the health of what was called.
pub async fn breaker_005_the_callers_own_errors_count_as_nothing(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    for kind in [
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::Conflict,
    ] {
        for _ in 0..4 {
            let _ = fail(&*breaker, kind).await;
        }
        check_eq!(breaker.state(), State::Closed, "after four errors of kind {kind}");
    }
    Ok(())
}

/// What happened longer ago than the window is not counted any more.
pub async fn breaker_006_failures_leave_the_window_with_time(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = breaker(harness, policy().with_window(SECOND * 10, 10, 0.5)).await?;
    for _ in 0..4 {
        fail_times(&*breaker, 1).await;
        succeed(&*breaker)
            .await
            .premise("a closed breaker lets calls pass")?;
    }
    harness.pass(SECOND * 21).await;
    // Ten calls would be in the window, six of them failed, if it did not slide.
    fail_times(&*breaker, 2).await;
    check_eq!(
        breaker.state(),
        State::Closed,
        "after failures that lie two windows back"
    );
    Ok(())
}

/// Calls that take too long open it even though they succeed.
pub async fn breaker_007_slow_calls_open_it(harness: &Harness<dyn MakesBreakers>) -> Outcome {
    let breaker = breaker(harness, policy().with_slow_calls(SECOND, 0.8)).await?;
    for _ in 0..10 {
        let slow = breaker.call(|| async {
            tokio::time::sleep(SECOND).await;
            Ok::<_, Error>(())
        });
        slow.await.premise("a slow call succeeds")?;
    }
    check_eq!(breaker.state(), State::Open, "after ten slow calls");
    Ok(())
}

/// A call that its caller gave up is neither success nor failure.
pub async fn breaker_008_a_cancelled_call_counts_as_nothing(harness: &Harness<dyn MakesBreakers>) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    for _ in 0..3 {
        let hanging = breaker.call(std::future::pending::<Result<()>>);
        let gave_up = tokio::time::timeout(SECOND, hanging).await;
        gave_up.is_err().premise("a call that hangs is given up")?;
    }
    check_eq!(
        breaker.state(),
        State::Closed,
        "after three calls that their callers gave up"
    );
    Ok(())
}

/// What happens to one name does not touch another; the same name is the same breaker.
pub async fn breaker_009_names_are_apart_and_a_name_is_one_breaker(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let provider = provider(harness, policy()).await?;
    fail_times(&*provider.breaker("users"), 3).await;
    (provider.breaker("users").state() == State::Open).premise("a name is one breaker")?;
    for other in ["Users", "users ", "user", "users:1", ""] {
        check_eq!(
            provider.breaker(other).state(),
            State::Closed,
            "{other:?}, after failures of \"users\""
        );
    }
    Ok(())
}
