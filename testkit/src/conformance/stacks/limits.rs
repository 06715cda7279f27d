//! Several calls at once, and what is refused before there is any.

use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use infra_core::intercept::{ConcurrencyConfig, StackConfig};
use infra_core::{ErrorKind, Result};
use tokio::task::JoinHandle;

use super::MakesStacks;
use super::work::{Ground, Step, config, unavailable};
use crate::conformance::{Failure, Harness, Outcome, check, check_eq, check_error};

const SECOND: Duration = Duration::from_secs(1);

/// One call at once; `queue` calls queue for at most two seconds. Nothing is repeated.
fn one_at_once(queue: usize) -> StackConfig {
    let limit = ConcurrencyConfig::new(NonZeroUsize::MIN).with_queue(queue, SECOND * 2);
    config().with_concurrency(limit).without_retry()
}

/// Begins a call that waits, and lets it get as far as it can.
async fn begin(ground: &Ground) -> JoinHandle<Result<usize>> {
    let behind = Arc::clone(&ground.behind);
    let call = tokio::spawn(async move { behind.wait("k").await });
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    call
}

/// A call keeps its place while it pauses between attempts: a limit of one lets nobody in meanwhile.
pub async fn stack_008_a_limit_counts_calls_and_not_attempts(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let limit = ConcurrencyConfig::new(NonZeroUsize::MIN).with_queue(0, SECOND);
    let ground = Ground::new(harness, config().with_concurrency(limit), [unavailable()]).await?;
    let first = begin(&ground).await;
    check_eq!(
        ground.worker.running(),
        0,
        "calls with the backend while the only call pauses"
    );
    let second = ground.behind.wait("k").await;
    check_error!(
        second,
        ErrorKind::ResourceExhausted,
        "a call while another one pauses"
    );
    check_eq!(first.await??, 2, "the answer of the first call's second attempt");
    Ok(())
}

/// So many calls queue; the next one is refused at once, without effect.
pub async fn stack_009_a_queue_is_bounded_in_length(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let ground = Ground::new(harness, one_at_once(1), [Step::Sleep(SECOND)]).await?;
    let (running, queued) = (begin(&ground).await, begin(&ground).await);
    let refused = harness
        .within(SECOND / 2, "a refusal", ground.behind.wait("k"))
        .await?;
    check!(
        refused.as_ref().is_err_and(|error| error.had_no_effect()),
        "a call that was never made may have had an effect: {refused:?}"
    );
    check_error!(refused, ErrorKind::ResourceExhausted, "a call beyond the queue");
    check_eq!(
        (running.await??, queued.await??),
        (1, 2),
        "the answers of those within the limit"
    );
    Ok(())
}

/// A call that has queued as long as allowed is refused.
pub async fn stack_010_nobody_queues_longer_than_allowed(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let ground = Ground::new(harness, one_at_once(1), [Step::Hang]).await?;
    let running = begin(&ground).await;
    let answer = harness
        .within(SECOND * 3, "a refusal", ground.behind.wait("k"))
        .await?;
    check_error!(
        answer,
        ErrorKind::ResourceExhausted,
        "a call that queued for two seconds"
    );
    running.abort();
    Ok(())
}

/// A call that is dropped, running or queued, gives its place back.
pub async fn stack_011_a_dropped_call_gives_its_place_back(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let ground = Ground::new(harness, one_at_once(1), [Step::Hang]).await?;
    for call in [begin(&ground).await, begin(&ground).await] {
        call.abort();
        let _cancelled = call.await;
    }
    let answer = ground.behind.wait("k").await;
    check!(answer.is_ok(), "a call after one that was dropped: {answer:?}");
    Ok(())
}

/// A call whose backend panicked gives its place back.
pub async fn stack_012_a_call_that_panicked_gives_its_place_back(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let ground = Ground::new(harness, one_at_once(0), [Step::Panic]).await?;
    let panicked = AssertUnwindSafe(ground.behind.wait("k")).catch_unwind().await;
    check!(panicked.is_err(), "a panic was swallowed");
    let answer = ground.behind.wait("k").await;
    check!(answer.is_ok(), "a call after one that panicked: {answer:?}");
    Ok(())
}

/// A configuration that cannot work is refused before the first call, and everything that is wrong with it is said.
pub async fn stack_013_a_wrong_configuration_is_refused_with_all_that_is_wrong(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let limit = ConcurrencyConfig::new(NonZeroUsize::MIN).with_queue(1, Duration::ZERO);
    let wrong = config().with_concurrency(limit).with_timeout(Duration::ZERO);
    let Err(refused) = Ground::new(harness, wrong, []).await else {
        return Err(Failure::broken("a stack that cannot work was built"));
    };
    for part in ["timeout", "concurrency.max_wait"] {
        check!(
            refused.message().contains(part),
            "the refusal does not name `{part}`: {}",
            refused.message()
        );
    }
    Ok(())
}
