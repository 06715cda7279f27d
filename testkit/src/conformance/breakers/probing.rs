//! How an open breaker finds out that the resource has recovered.

use std::sync::Arc;
use std::time::Duration;

use infra_core::breaker::{self, Breaker, BreakerExt, Force, Policy, State};
use infra_core::{ErrorKind, Result};

use super::MakesBreakers;
use super::counting::{OPEN, breaker, fail, fail_times, policy, succeed};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

/// A breaker that was opened, and whose time open has passed.
async fn half_open(
    harness: &Harness<dyn MakesBreakers>,
    policy: Policy,
) -> std::result::Result<Arc<dyn Breaker>, Failure> {
    let breaker = breaker(harness, policy).await?;
    fail_times(&*breaker, 3).await;
    (breaker.state() == State::Open).premise("three failures open it")?;
    harness.pass(OPEN).await;
    Ok(breaker)
}

/// After the time open, as many calls pass at once as probes are allowed; the next is refused.
pub async fn breaker_010_half_open_admits_exactly_the_probes_allowed(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = half_open(harness, policy().with_probes(2, OPEN)).await?;
    let (first, second) = (breaker.try_acquire(), breaker.try_acquire());
    check!(
        first.is_ok() && second.is_ok(),
        "two probes are allowed: {first:?}, {second:?}"
    );
    let third = breaker.try_acquire();
    check_error!(third, ErrorKind::CircuitOpen, "a third probe of two");
    Ok(())
}

/// A probe whose caller gave up makes room for another, and neither opens nor closes anything.
pub async fn breaker_011_a_dropped_probe_gives_its_place_back_and_counts_as_nothing(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = half_open(harness, policy()).await?;
    for probe in 1..=3 {
        let permit = breaker.try_acquire();
        check!(
            permit.is_ok(),
            "the place of a dropped probe was not given back (the {probe}.): {permit:?}"
        );
        drop(permit);
    }
    check_eq!(
        breaker.state(),
        State::HalfOpen,
        "after three probes that were dropped; two successes close it"
    );
    Ok(())
}

/// So many successful probes close it, and not one less.
pub async fn breaker_012_successful_probes_close_it(harness: &Harness<dyn MakesBreakers>) -> Outcome {
    let breaker = half_open(harness, policy()).await?;
    succeed(&*breaker).await.premise("a first probe passes")?;
    check_eq!(breaker.state(), State::HalfOpen, "after 1 success of 2");
    succeed(&*breaker).await.premise("a second probe passes")?;
    check_eq!(breaker.state(), State::Closed, "after 2 successes of 2");
    Ok(())
}

/// One probe that fails opens it again, for as long as the first time.
pub async fn breaker_013_a_failed_probe_opens_it_for_the_whole_time_again(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = half_open(harness, policy()).await?;
    let error = fail(&*breaker, ErrorKind::Unavailable)
        .await
        .premise("a probe that fails")?;
    (error.kind() == ErrorKind::Unavailable).premise("the probe was let through")?;
    check_eq!(breaker.state(), State::Open, "after a probe that failed");
    harness.pass(OPEN - Duration::from_millis(1)).await;
    check!(
        breaker.try_acquire().is_err(),
        "a probe passed before the whole time open was over again"
    );
    Ok(())
}

/// A probe that does not end within its time is given up with a timeout and counts as failed.
pub async fn breaker_014_a_probe_that_takes_too_long_counts_as_failed(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = half_open(harness, policy().with_probes(1, Duration::from_secs(2))).await?;
    let hanging = breaker.call(std::future::pending::<Result<()>>);
    let answer = harness
        .within(
            Duration::from_secs(3),
            "a probe that hangs is given up after 2 s",
            hanging,
        )
        .await?;
    check_error!(answer, ErrorKind::Timeout, "a probe that hangs");
    check_eq!(breaker.state(), State::Open, "after a probe that hung");
    Ok(())
}

/// A call that began while closed and ends while half-open decides nothing.
pub async fn breaker_015_the_end_of_a_call_of_before_counts_as_nothing(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    let late = breaker
        .try_acquire()
        .premise("a closed breaker lets calls pass")?;
    fail_times(&*breaker, 3).await;
    (breaker.state() == State::Open).premise("three failures open it")?;
    harness.pass(OPEN).await;
    drop(breaker.try_acquire().premise("a probe passes")?);
    late.record(breaker::Outcome::Failure, OPEN);
    check_eq!(
        breaker.state(),
        State::HalfOpen,
        "after the late failure of a call from before it opened"
    );
    Ok(())
}

/// An operator holds it open or closed; let go, it decides again from where it was.
pub async fn breaker_016_an_operator_overrules_it_and_lets_it_go_on_from_where_it_was(
    harness: &Harness<dyn MakesBreakers>,
) -> Outcome {
    let breaker = breaker(harness, policy()).await?;
    breaker.force(Force::Open);
    check_error!(
        succeed(&*breaker).await,
        ErrorKind::CircuitOpen,
        "a call while held open"
    );
    breaker.force(Force::Auto);
    fail_times(&*breaker, 3).await;
    (breaker.state() == State::Open).premise("three failures open it")?;
    breaker.force(Force::Closed);
    check!(
        succeed(&*breaker).await.is_ok(),
        "a call while held closed was refused"
    );
    breaker.force(Force::Auto);
    check_eq!(
        breaker.state(),
        State::Open,
        "let go while its time open is not over"
    );
    Ok(())
}
