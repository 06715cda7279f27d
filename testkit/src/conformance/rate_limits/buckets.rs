//! What one bucket gives out, and when.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::rate_limit::{Decision, Quota, RateLimitStore, Take};
use tokio::time::Instant;

use crate::conformance::{Failure, Harness, Outcome, Premise, TimeControl, check, check_eq, check_error};

const SECOND: Duration = Duration::from_secs(1);

/// How far a time may be off where the store's clock is not ours; on a paused clock nothing may be off by more than its tick.
fn tolerance(harness: &Harness<dyn RateLimitStore>) -> Duration {
    match harness.time() {
        TimeControl::Virtual => Duration::from_millis(1),
        TimeControl::Real => Duration::from_millis(150),
    }
}

pub(super) fn quota(rate: f64, capacity: u64) -> Result<Quota, Failure> {
    Quota::new(rate, capacity).premise("a valid quota")
}

pub(super) async fn take(
    store: &dyn RateLimitStore,
    key: &str,
    quota: Quota,
    cost: u32,
) -> infra_core::Result<Decision> {
    let mut decisions = store.take(&[Take::new(key, quota, cost)]).await?;
    match (decisions.pop(), decisions.len()) {
        (Some(decision), 0) => Ok(decision),
        (_, others) => Err(infra_core::Error::new(
            ErrorKind::Internal,
            format!("one take must give one decision, not {} more", others),
        )),
    }
}

/// Takes everything that a full bucket holds.
async fn empty(store: &dyn RateLimitStore, key: &str, quota: Quota) -> Outcome {
    let emptied = take(store, key, quota, quota.capacity())
        .await
        .premise("a full bucket can be emptied")?;
    emptied.allowed.premise("a full bucket can be emptied at once")
}

/// A bucket that nobody has used gives its whole capacity at once; after that tokens come at the rate, and no fraction of one is lost.
pub async fn limit_001_a_burst_passes_and_then_the_steady_rate(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(3.0, 5)?);
    let (seconds, step) = match harness.time() {
        TimeControl::Virtual => (20, Duration::from_millis(100)),
        TimeControl::Real => (3, Duration::from_millis(100)),
    };
    for token in 1..=5 {
        check!(
            take(&*store, &key, quota, 1).await?.allowed,
            "token {token} of a burst of 5 was denied"
        );
    }
    check!(
        !take(&*store, &key, quota, 1).await?.allowed,
        "a sixth token came out of a bucket of 5"
    );
    let (began, mut given) = (Instant::now(), 0);
    while began.elapsed() < SECOND * seconds {
        harness.pass(step).await;
        given += u32::from(take(&*store, &key, quota, 1).await?.allowed);
    }
    check!(
        given + 1 >= 3 * seconds,
        "{given} tokens in {seconds} s at 3 per second"
    );
    Ok(())
}

/// However calls are spread, no window of length t sees more than capacity + rate·t tokens.
pub async fn limit_002_no_window_sees_more_than_the_quota(harness: &Harness<dyn RateLimitStore>) -> Outcome {
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(20.0, 10)?);
    let mut random = fastrand::Rng::with_seed(harness.seed());
    let (rounds, longest) = match harness.time() {
        TimeControl::Virtual => (600, 300),
        TimeControl::Real => (60, 60),
    };
    let mut given: Vec<(Instant, Instant, u32)> = Vec::new();
    for _ in 0..rounds {
        let cost = random.u32(1..=4);
        let before = Instant::now();
        if take(&*store, &key, quota, cost)
            .await
            .premise("a take is answered")?
            .allowed
        {
            given.push((before, Instant::now(), cost));
        }
        // The odd millisecond finds stores that round in the caller's favour.
        harness.pass(Duration::from_millis(random.u64(0..longest))).await;
    }
    (given.len() > 20).premise("tokens are given out at all")?;
    for (first, &(began, _, _)) in given.iter().enumerate() {
        let mut sum = 0.0;
        for &(_, ended, cost) in given.iter().skip(first) {
            sum += f64::from(cost);
            let window = ended.duration_since(began).as_secs_f64() + tolerance(harness).as_secs_f64();
            let allowed = 10.0 + 20.0 * window;
            check!(
                sum <= allowed,
                "{sum} tokens in a window of {window:.3} s, which allows {allowed:.2}"
            );
        }
    }
    Ok(())
}

/// A denied take says when it can pass: not earlier, and then it does.
pub async fn limit_003_retry_after_is_exact(harness: &Harness<dyn RateLimitStore>) -> Outcome {
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(1.25, 4)?);
    empty(&*store, &key, quota).await?;
    let denied = take(&*store, &key, quota, 1)
        .await
        .premise("a take is answered")?;
    (!denied.allowed).premise("an empty bucket gives nothing")?;
    let (expected, slack) = (SECOND * 4 / 5, tolerance(harness));
    check!(
        denied.retry_after <= expected + slack && denied.retry_after + slack >= expected,
        "a token at 1.25 per second takes {expected:?}, not {:?}",
        denied.retry_after
    );
    harness.pass(denied.retry_after.saturating_sub(slack * 2)).await;
    check!(
        !take(&*store, &key, quota, 1).await?.allowed,
        "passed before its retry_after"
    );
    harness.pass(slack * 3).await;
    check!(
        take(&*store, &key, quota, 1).await?.allowed,
        "denied after its retry_after had passed"
    );
    Ok(())
}

/// A decision says when the bucket is full again.
pub async fn limit_004_reset_after_is_exact(harness: &Harness<dyn RateLimitStore>) -> Outcome {
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(10.0, 20)?);
    let taken = take(&*store, &key, quota, 10)
        .await
        .premise("a full bucket gives half")?;
    let slack = tolerance(harness);
    check!(
        taken.reset_after <= SECOND + slack && taken.reset_after + slack >= SECOND,
        "10 tokens at 10 per second take 1 s, not {:?}",
        taken.reset_after
    );
    Ok(())
}

/// The tokens that are left, and the limit, are told with each decision.
pub async fn limit_005_remaining_is_what_can_still_be_taken(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    // So slow that nothing is gained during the scenario.
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(0.001, 7)?);
    let first = take(&*store, &key, quota, 2)
        .await
        .premise("a full bucket gives 2 of 7")?;
    check_eq!(
        (first.limit, first.remaining),
        (7, 5),
        "limit and remaining after 2 of 7"
    );
    let second = take(&*store, &key, quota, 5).await.premise("5 of the 5 left")?;
    check_eq!(
        (second.limit, second.remaining),
        (7, 0),
        "limit and remaining after all 7"
    );
    let denied = take(&*store, &key, quota, 1)
        .await
        .premise("a denial is a decision")?;
    check_eq!(
        (denied.limit, denied.remaining),
        (7, 0),
        "limit and remaining of a denial"
    );
    Ok(())
}

/// A take that is denied leaves all tokens to smaller ones.
pub async fn limit_006_a_denied_take_takes_nothing(harness: &Harness<dyn RateLimitStore>) -> Outcome {
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(0.001, 5)?);
    take(&*store, &key, quota, 2)
        .await
        .premise("a full bucket gives 2 of 5")?;
    for _ in 0..3 {
        let denied = take(&*store, &key, quota, 4)
            .await
            .premise("a denial is a decision")?;
        (!denied.allowed).premise("3 tokens do not pay for 4")?;
    }
    check!(
        take(&*store, &key, quota, 3).await?.allowed,
        "the 3 tokens that were left are gone"
    );
    Ok(())
}

/// A cost of zero, and one above the capacity, could never be meant: they are refused.
pub async fn limit_007_a_cost_that_cannot_be_paid_is_refused(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(1.0, 5)?);
    check_error!(
        take(&*store, &key, quota, 0).await,
        ErrorKind::InvalidArgument,
        "a cost of 0"
    );
    check_error!(
        take(&*store, &key, quota, 6).await,
        ErrorKind::InvalidArgument,
        "a cost of 6 of 5"
    );
    Ok(())
}

/// A bucket whose capacity shrank keeps no more than the new capacity.
pub async fn limit_008_a_smaller_capacity_keeps_no_more_than_it_holds(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let (store, key) = (harness.client().await?, harness.name("bucket"));
    take(&*store, &key, quota(0.001, 50)?, 1)
        .await
        .premise("a full bucket of 50 gives one")?;
    let small = quota(0.001, 3)?;
    let first = take(&*store, &key, small, 3)
        .await
        .premise("a take under the new quota is answered")?;
    first.allowed.premise("49 tokens pay for 3")?;
    check!(
        !take(&*store, &key, small, 1).await?.allowed,
        "a bucket of 3 kept the tokens of one of 50"
    );
    Ok(())
}

/// When a quota changes, what was gained until now was gained at the old rate, and what was spent stays spent.
pub async fn limit_009_tokens_gained_before_a_change_were_gained_at_the_old_rate(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let (store, key, slow) = (harness.client().await?, harness.name("bucket"), quota(2.0, 100)?);
    empty(&*store, &key, slow).await?;
    harness.pass(SECOND).await;
    let fast = quota(50.0, 100)?;
    let decision = take(&*store, &key, fast, 10).await?;
    check!(
        !decision.allowed,
        "the bucket gained more than 2 tokens in a second at 2 per second, after a change of its quota"
    );
    Ok(())
}
