//! What is repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use infra_core::retry::{Backoff, Budget, Idempotence, Jitter, Policy};
use infra_core::{Error, ErrorKind, Result, Retry};

use super::Repeats;
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error};

/// Three attempts, a second apart.
pub(super) fn policy() -> Policy {
    Policy::development()
        .with_max_attempts(3)
        .with_backoff(Backoff::Fixed {
            delay: Duration::from_secs(1),
        })
        .with_jitter(Jitter::None)
        .without_total_deadline()
}

/// Counts its attempts, each of which fails with a clone of this error.
pub(super) fn failing(
    error: Error,
) -> (
    Arc<AtomicU32>,
    impl FnMut() -> BoxFuture<'static, Result<u32>> + Send,
) {
    let attempts = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&attempts);
    let operation = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Err(error.clone())).boxed()
    };
    (attempts, operation)
}

pub(super) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "connection refused")
}

/// A kind that a repetition cannot help is not repeated; one that it may help is.
pub async fn retry_001_only_what_may_help_is_repeated(harness: &Harness<dyn Repeats>) -> Outcome {
    let retry = harness.client().await?;
    let kinds = [
        (ErrorKind::Unavailable, true),
        (ErrorKind::Timeout, true),
        (ErrorKind::InvalidArgument, false),
        (ErrorKind::Unauthenticated, false),
        (ErrorKind::PermissionDenied, false),
        (ErrorKind::NotFound, false),
        (ErrorKind::Closed, false),
        (ErrorKind::DataCorrupted, false),
    ];
    for (kind, expected) in kinds {
        let (attempts, mut operation) = failing(Error::new(kind, "asked for"));
        let answer = retry
            .repeat(
                &policy(),
                &Budget::unlimited(),
                Idempotence::Idempotent,
                &mut operation,
            )
            .await;
        check!(answer.is_err(), "an operation that always fails succeeded");
        check_eq!(
            attempts.load(Ordering::Relaxed) > 1,
            expected,
            "whether what fails with {kind} was repeated"
        );
    }
    Ok(())
}

/// What must not be done twice is repeated only when the error says that nothing was done.
pub async fn retry_002_what_is_not_idempotent_is_repeated_only_if_it_had_no_effect(
    harness: &Harness<dyn Repeats>,
) -> Outcome {
    let retry = harness.client().await?;
    for (error, expected) in [(unavailable(), false), (unavailable().without_effect(), true)] {
        let (attempts, mut operation) = failing(error);
        let answer = retry
            .repeat(
                &policy(),
                &Budget::unlimited(),
                Idempotence::NotIdempotent,
                &mut operation,
            )
            .await;
        check!(answer.is_err(), "an operation that always fails succeeded");
        check_eq!(
            attempts.load(Ordering::Relaxed) > 1,
            expected,
            "whether what is not idempotent was repeated"
        );
    }
    Ok(())
}

/// Retries do not multiply: what an inner one gave up is final.
pub async fn retry_003_what_an_inner_retry_gave_up_is_not_repeated(
    harness: &Harness<dyn Repeats>,
) -> Outcome {
    let retry = harness.client().await?;
    let (attempts, mut operation) = failing(unavailable().with_retry(Retry::Exhausted));
    let answer = retry
        .repeat(
            &policy(),
            &Budget::unlimited(),
            Idempotence::Idempotent,
            &mut operation,
        )
        .await;
    check!(answer.is_err(), "an operation that always fails succeeded");
    check_eq!(
        attempts.load(Ordering::Relaxed),
        1,
        "attempts of what an inner retry gave up"
    );
    Ok(())
}

/// The last error says that repetitions are used up, and keeps its kind.
pub async fn retry_004_giving_up_is_marked_as_exhausted(harness: &Harness<dyn Repeats>) -> Outcome {
    let retry = harness.client().await?;
    let (_, mut operation) = failing(unavailable());
    let answer = retry
        .repeat(
            &policy(),
            &Budget::unlimited(),
            Idempotence::Idempotent,
            &mut operation,
        )
        .await;
    let error = check_error!(answer, ErrorKind::Unavailable, "what is given up keeps its kind");
    check_eq!(error.retry(), Retry::Exhausted, "how what was given up is marked");
    Ok(())
}

/// A retry whose future is dropped drops the attempt at hand: nothing goes on in the background.
pub async fn retry_005_a_dropped_retry_stops(harness: &Harness<dyn Repeats>) -> Outcome {
    let retry = harness.client().await?;
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let mut operation = move || {
        let held = Arc::clone(&held);
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok(0)
        }
        .boxed()
    };
    let (policy, budget) = (policy(), Budget::unlimited());
    let repeating = retry.repeat(&policy, &budget, Idempotence::Idempotent, &mut operation);
    let ended = tokio::time::timeout(Duration::from_secs(1), repeating).await;
    ended.is_err().premise("an attempt that hangs does not end")?;
    harness.pass(Duration::from_secs(1)).await;
    // One is ours, one the operation's.
    check_eq!(
        Arc::strong_count(&alive),
        2,
        "an attempt is still alive after its retry was dropped"
    );
    Ok(())
}
