//! What is decided when the shared buckets cannot be reached.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::intercept::Fault;
use infra_core::rate_limit::{Basis, Decision, Mode, OnFailure, RateLimitConfig};

use super::MakesLimiters;
use super::steps::{BOUND, RULE, USER, config, decided, failing, slow, spent};
use crate::conformance::{Harness, Outcome, check, check_eq, check_error};

const AWAY: Fault = Fault::Err(ErrorKind::Unavailable);

fn distributed(harness: &Harness<dyn MakesLimiters>, on_failure: OnFailure) -> RateLimitConfig {
    config(harness, Mode::Distributed)
        .with_on_failure(on_failure)
        .with_rule(RULE, slow(2))
}

/// A service that is to stay up stays up without limits, and the decision tells.
pub async fn limiter_017_without_its_store_it_allows_if_configured(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_faults, limiter) = failing(harness, distributed(harness, OnFailure::Allow), AWAY).await?;
    for _ in 0..3 {
        let answer = limiter.check_n(USER, RULE, 1).await;
        check!(
            matches!(&answer, Ok(decision) if *decision == Decision::without_bucket(true, Basis::Unavailable)),
            "a check while the store is away, where those are allowed: {answer:?}"
        );
    }
    Ok(())
}

/// Limits that must hold hold, and the decision tells why.
pub async fn limiter_018_without_its_store_it_denies_if_configured(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_faults, limiter) = failing(harness, distributed(harness, OnFailure::Deny), AWAY).await?;
    let decision = limiter.check_n(USER, RULE, 1).await?;
    check_eq!(
        decision,
        Decision::without_bucket(false, Basis::Unavailable),
        "a check while the store is away, where those are denied"
    );
    Ok(())
}

/// Each process gives out the quota meanwhile, and no more than that.
pub async fn limiter_019_without_its_store_it_limits_by_itself_if_configured(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_faults, limiter) = failing(harness, distributed(harness, OnFailure::LocalFallback), AWAY).await?;
    for allowed in [true, true, false] {
        let decision = limiter.check_n(USER, RULE, 1).await?;
        check_eq!(
            (decision.allowed, decision.basis),
            (allowed, Basis::LocalFallback),
            "one of three checks for two tokens, while the store is away"
        );
    }
    Ok(())
}

/// A store that does not answer holds a check up for its time limit and no longer.
pub async fn limiter_020_a_slow_store_is_given_up_in_time(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    let limit = Duration::from_millis(300);
    let config = distributed(harness, OnFailure::Deny).with_store_timeout(limit);
    let (_faults, limiter) = failing(harness, config, Fault::Hang).await?;
    let began = tokio::time::Instant::now();
    let deciding = limiter.check_n(USER, RULE, 1);
    let decision = harness
        .within(BOUND, "a check whose store does not answer is decided", deciding)
        .await??;
    let took = began.elapsed();
    check_eq!(
        decision.basis,
        Basis::Unavailable,
        "the basis of a decision whose store did not answer"
    );
    check!(
        took >= limit && took <= limit + Duration::from_secs(2),
        "a store may take {limit:?}; the decision took {took:?}"
    );
    Ok(())
}

/// When the store answers again, its buckets count, which still hold what they held.
pub async fn limiter_021_a_store_that_is_back_decides_again(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    let (faults, limiter) = failing(harness, distributed(harness, OnFailure::LocalFallback), AWAY).await?;
    spent(&*limiter, USER, RULE, 2).await?;
    faults.clear();
    let back = decided(&*limiter, USER, RULE, 1).await?;
    check_eq!(
        (back.basis, back.remaining),
        (Basis::Bucket, 1),
        "the first decision of the store, whose bucket was full"
    );
    Ok(())
}

/// What the store refuses as wrong is an error for the caller, and not decided without it.
pub async fn limiter_022_mistakes_of_the_caller_are_no_outage(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let refuses = Fault::Err(ErrorKind::InvalidArgument);
    let (_faults, limiter) = failing(harness, distributed(harness, OnFailure::Allow), refuses).await?;
    let answer = limiter.check_n(USER, RULE, 1).await;
    check_error!(
        answer,
        ErrorKind::InvalidArgument,
        "a check that the store refuses"
    );
    Ok(())
}
