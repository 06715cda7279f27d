//! What happens to one call.

use std::collections::BTreeMap;
use std::time::Duration;

use infra_core::breaker::{BreakerProvider, Force, Policy, State};
use infra_core::{Error, ErrorKind};

use super::MakesStacks;
use super::work::{Ground, PAUSE, Step, TIMEOUT, config, unavailable};
use crate::conformance::{Failure, Harness, Outcome, check, check_eq, check_error};

/// A value comes through; so does an error that cannot be helped, with its kind, message and place.
pub async fn stack_001_answers_come_through_unchanged(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let told = Error::invalid_argument("the key is empty").at("work", "worker", "read");
    let ground = Ground::new(harness, config(), [Step::Fail(told.clone())]).await?;
    let Err(error) = ground.behind.read("").await else {
        return Err(Failure::broken("an error became a success"));
    };
    check_eq!(
        format!("{error:?}"),
        format!("{told:?}"),
        "the error of the backend"
    );
    check_eq!(
        ground.behind.read("k").await?,
        2,
        "the answer of the backend's second call"
    );
    Ok(())
}

/// A call that must not be done twice reaches the backend once, unless the error says that nothing was done.
pub async fn stack_002_what_is_not_idempotent_is_not_repeated(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let ground = Ground::new(harness, config(), [unavailable()]).await?;
    check!(
        ground.behind.write("k").await.is_err(),
        "a write whose effect is unknown was repeated"
    );
    check_eq!(ground.worker.calls(), 1, "writes that reached the backend");
    Ok(())
}

/// An attempt that hangs ends with its time, and the next one may succeed.
pub async fn stack_003_each_attempt_is_bounded_and_the_next_may_succeed(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let ground = Ground::new(harness, config(), [Step::Hang]).await?;
    let bound = TIMEOUT + PAUSE * 2;
    let answer = harness.within(bound, "a call whose first attempt hangs", ground.behind.read("k"));
    check_eq!(answer.await??, 2, "the answer of the second attempt");
    Ok(())
}

/// A method that waits by design has a bound of its own, and no other.
pub async fn stack_004_a_method_that_waits_by_design_is_not_bounded(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let ground = Ground::new(harness, config(), [Step::Sleep(TIMEOUT * 3)]).await?;
    let answer = ground.behind.wait("k").await;
    check_eq!(
        answer?,
        1,
        "the answer of a call that waits longer than other calls may take"
    );
    Ok(())
}

/// What a repetition mended is no failure to a breaker.
pub async fn stack_005_a_breaker_counts_what_is_left_after_retries(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let ground = Ground::new(harness, config(), [unavailable(), unavailable()]).await?;
    check_eq!(
        ground.behind.read("k").await?,
        3,
        "the answer of the third attempt"
    );
    let state = ground.breakers.breaker("work.worker").state();
    check_eq!(
        state,
        State::Closed,
        "the breaker after a call that succeeded in the end"
    );
    Ok(())
}

/// While its breaker is open, no call reaches the backend, and callers learn it at once, with no effect.
pub async fn stack_006_an_open_breaker_keeps_calls_from_the_backend(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let ground = Ground::new(harness, config().without_retry(), []).await?;
    let forced = Policy::default().with_force(Force::Open);
    ground
        .breakers
        .apply(BTreeMap::from([("work.worker".to_owned(), forced)]))?;
    let answer = harness
        .within(PAUSE / 2, "a refusal", ground.behind.read("k"))
        .await?;
    check_error!(answer, ErrorKind::CircuitOpen, "a call while the breaker is open");
    check_eq!(ground.worker.calls(), 0, "calls that reached the backend");
    Ok(())
}

/// When the caller drops its future, the backend's own is dropped too.
pub async fn stack_007_a_dropped_call_reaches_the_backend(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let ground = Ground::new(harness, config(), [Step::Hang]).await?;
    let dropped = tokio::time::timeout(Duration::from_millis(1), ground.behind.wait("k")).await;
    check!(dropped.is_err(), "a call that hangs came back");
    check_eq!(ground.worker.calls(), 1, "calls that reached the backend");
    check_eq!(
        ground.worker.running(),
        0,
        "calls that go on in the backend for nobody"
    );
    Ok(())
}
