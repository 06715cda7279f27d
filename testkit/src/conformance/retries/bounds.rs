//! How often, how late and how long.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use infra_core::retry::{Backoff, Budget, BudgetPolicy, Idempotence, Jitter, Policy};
use infra_core::{ErrorKind, Retry};
use tokio::time::Instant;

use super::Repeats;
use super::choice::{failing, policy, unavailable};
use crate::conformance::{Failure, Harness, Outcome, check, check_eq, check_error};

const SECOND: Duration = Duration::from_secs(1);

/// The moments at which the attempts of an operation began that always fails like this.
async fn moments(
    harness: &Harness<dyn Repeats>,
    policy: &Policy,
    error: infra_core::Error,
) -> Result<Vec<Instant>, Failure> {
    let retry = harness.client().await?;
    let began = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&began);
    let mut operation = move || {
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Instant::now());
        std::future::ready(Err(error.clone())).boxed()
    };
    let answer = retry
        .repeat(
            policy,
            &Budget::unlimited(),
            Idempotence::Idempotent,
            &mut operation,
        )
        .await;
    if answer.is_ok() {
        return Err(Failure::broken("an operation that always fails succeeded"));
    }
    let moments = began.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(moments)
}

fn delays(moments: &[Instant]) -> Vec<Duration> {
    moments.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// So many attempts, the first one included, and not one more.
pub async fn retry_006_no_more_attempts_than_allowed(harness: &Harness<dyn Repeats>) -> Outcome {
    for allowed in [1, 2, 7] {
        let made = moments(harness, &policy().with_max_attempts(allowed), unavailable())
            .await?
            .len();
        check_eq!(made, allowed as usize, "attempts where {allowed} are allowed");
    }
    Ok(())
}

/// An error that says when to come back is not repeated earlier.
pub async fn retry_007_the_time_that_the_error_asks_for_is_waited(harness: &Harness<dyn Repeats>) -> Outcome {
    let asks = unavailable().with_retry(Retry::After(SECOND * 7));
    let waited = delays(&moments(harness, &policy(), asks).await?);
    check!(
        waited.iter().all(|delay| *delay >= SECOND * 7),
        "7 s were asked for, and {waited:?} waited"
    );
    Ok(())
}

/// Nothing is waited for that could not be tried within the deadline.
pub async fn retry_008_no_delay_reaches_beyond_the_deadline(harness: &Harness<dyn Repeats>) -> Outcome {
    let began = Instant::now();
    let bounded = policy()
        .with_max_attempts(100)
        .with_total_deadline(SECOND * 9 / 2);
    let made = moments(harness, &bounded, unavailable()).await?.len();
    check!(
        began.elapsed() <= SECOND * 9 / 2,
        "4.5 s were allowed, {:?} taken",
        began.elapsed()
    );
    check!(made >= 4, "only {made} attempts in 4.5 s, a second apart");
    Ok(())
}

/// An attempt that hangs is given up after its time, and another one made.
pub async fn retry_009_each_attempt_is_bounded(harness: &Harness<dyn Repeats>) -> Outcome {
    let retry = harness.client().await?;
    let mut attempts = 0;
    let mut operation = || {
        attempts += 1;
        std::future::pending().boxed()
    };
    let bounded = policy().with_attempt_timeout(SECOND * 2);
    let repeating = async {
        retry
            .repeat(
                &bounded,
                &Budget::unlimited(),
                Idempotence::Idempotent,
                &mut operation,
            )
            .await
    };
    let answer = harness
        .within(
            SECOND * 30,
            "attempts that hang are given up after 2 s each",
            repeating,
        )
        .await?;
    check_error!(answer, ErrorKind::Timeout, "attempts that hang");
    check!(attempts > 1, "an attempt that hung was not repeated");
    Ok(())
}

/// Repetitions are paid for out of a budget that all callers share; without it, none is made.
pub async fn retry_010_a_budget_bounds_the_repetitions_of_all(harness: &Harness<dyn Repeats>) -> Outcome {
    let retry = harness.client().await?;
    let budget = Budget::new(&BudgetPolicy::default().with_min_per_second(1).with_ratio(0.0));
    let reserve = u32::try_from(budget.available()).unwrap_or(u32::MAX);
    let immediate = policy().with_backoff(Backoff::Fixed {
        delay: Duration::ZERO,
    });
    let mut made = 0;
    for _ in 0..50 {
        let (attempts, mut operation) = failing(unavailable());
        let answer = retry
            .repeat(&immediate, &budget, Idempotence::Idempotent, &mut operation)
            .await;
        check!(answer.is_err(), "an operation that always fails succeeded");
        made += attempts.load(Ordering::Relaxed);
    }
    check_eq!(
        made - 50,
        reserve,
        "repetitions of 50 calls at once, out of a budget of {reserve}"
    );
    Ok(())
}

/// Each delay is at most the exponential one, some are far shorter, and two seeds do not agree.
pub async fn retry_011_delays_grow_and_are_spread_within_their_bounds(
    harness: &Harness<dyn Repeats>,
) -> Outcome {
    let spread = |seed| {
        policy()
            .with_max_attempts(8)
            .with_backoff(Backoff::Exponential {
                initial: SECOND,
                factor: 2.0,
                max: SECOND * 20,
            })
            .with_jitter(Jitter::Full)
            .with_seed(seed)
    };
    let mut all = Vec::new();
    for seed in 0..20 {
        all.push(delays(&moments(harness, &spread(seed), unavailable()).await?));
    }
    for (index, bound) in [1, 2, 4, 8, 16, 20, 20].into_iter().enumerate() {
        let bound = SECOND * bound;
        let at_this_place: Vec<Duration> = all
            .iter()
            .filter_map(|delays| delays.get(index))
            .copied()
            .collect();
        // The clock of timers ticks in milliseconds.
        let longest = at_this_place.iter().max().copied().unwrap_or_default();
        check!(
            longest <= bound + Duration::from_millis(1),
            "delay {index} is {longest:?}, bound {bound:?}"
        );
        check!(
            longest * 2 > bound,
            "no delay {index} of 20 runs is longer than half its bound {bound:?}"
        );
        let shortest = at_this_place.iter().min().copied().unwrap_or_default();
        check!(
            shortest * 2 < bound,
            "no delay {index} of 20 runs is shorter than half its bound {bound:?}"
        );
    }
    Ok(())
}
