//! What becomes of a key whose work fails, is stopped, or crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra_core::error::ErrorKind;
use infra_core::once::{Once, OnceStore, Waiting, Work};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::steps::{Counted, LONG_WAIT, begun, execute, failed, is_free, over, remembering, start};
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq, check_error, long_lease,
    over_within, short_lease,
};

/// Work that fails gives its own error, and the next call does it anew without waiting for a lease to end.
pub async fn idemp_006_failed_work_releases_its_key(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let once = over(&store, long_lease(&*store))?;
    let (key, work) = (harness.name("key"), Counted::default());
    let answer = once
        .execute_bytes(&key, remembering(&store), work.failing())
        .await;
    let error = answer.err().premise("failed work is no success")?;
    (error.kind() == failed().kind()).premise("failed work gives its own error")?;
    let again = once.execute_bytes(&key, remembering(&store), work.giving("done"));
    let outcome = harness
        .within(SLACK * 5, "doing failed work again", again)
        .await??;
    check!(!outcome.is_replay(), "failed work has a result: {outcome:?}");
    Ok(())
}

/// The key of a process that died in the middle of its work is free after its lease: not before, and not only after the time for
/// which the result was to be remembered.
pub async fn idemp_011_a_crash_blocks_its_key_for_a_lease_only(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), short_lease(harness, &*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    let crashing = start(&first, &key, remembering(&ours), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    // Long enough for a renewal.
    harness.pass(lease / 2).await;
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    let died = Instant::now();
    let options = remembering(&theirs).with_waiting(Waiting::UpTo(LONG_WAIT));
    let again = second.execute_bytes(&key, options, work.giving("done"));
    let bound = over_within(&*theirs, lease) + SLACK;
    let outcome = harness
        .within(bound, "doing the work of a dead process", again)
        .await??;
    check!(
        !outcome.is_replay(),
        "the work of a dead process has a result: {outcome:?}"
    );
    check!(
        died.elapsed() >= lease / 3,
        "the key was free {:?} after its owner died; its lease is {lease:?}",
        died.elapsed()
    );
    // What died was a connection: the process behind it must know that it is out.
    let told = harness.within(bound, "stopping work that has lost its claim", crashing);
    check_error!(
        told.await??,
        ErrorKind::LeaseLost,
        "work that could not renew its claim"
    );
    Ok(())
}

/// Fails a few times, then gives its result.
fn fails_first(attempts: &Arc<AtomicUsize>, failures: usize) -> Work<'static> {
    let attempts = Arc::clone(attempts);
    Box::pin(async move {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        if attempt < failures {
            return Err(failed());
        }
        Ok(Bytes::from_static(b"the true result"))
    })
}

/// Of many who want the same work, which fails at first, everybody gets the true result or an error, and nobody an invented one.
pub async fn idemp_018_nobody_is_given_a_false_success(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), short_lease(harness, &*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let attempts = Arc::new(AtomicUsize::new(0));
    let mut callers = Vec::new();
    for caller in 0..8 {
        let once = if caller % 2 == 0 { &first } else { &second };
        let options = remembering(&ours).with_waiting(Waiting::UpTo(LONG_WAIT));
        callers.push(start(once, &key, options, fails_first(&attempts, 3)));
    }
    let mut successes = 0;
    for caller in callers {
        let answer = harness.within(LONG_WAIT, "an answer", caller).await;
        if let Ok(outcome) = answer.premise("every caller is answered")?? {
            successes += 1;
            let value = outcome.into_inner();
            check_eq!(
                value,
                Bytes::from_static(b"the true result"),
                "what a caller was given"
            );
        }
    }
    (successes > 0).premise("the work succeeds in the end")
}

/// Work that fails late, panics or is dropped releases its key as well, however often its claim was renewed.
pub async fn idemp_021_work_that_was_stopped_releases_its_key(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let lease = short_lease(harness, &*store);
    let once = over(&store, lease)?;
    let long = lease / 2;
    for how in ["failed", "panicked", "cancelled"] {
        let (key, work) = (harness.name(how), Counted::default());
        let ending = work.after(long, "");
        let task: Work<'static> = Box::pin(async move {
            ending.await?;
            match how {
                "failed" => Err(failed()),
                // Without the message of a panic, which would look like a failure of the suite.
                "panicked" => std::panic::resume_unwind(Box::new("as told")),
                _ => std::future::pending().await,
            }
        });
        let running = start(&once, &key, remembering(&store), task);
        begun(harness, &work, 1).await?;
        harness.pass(long + long / 10).await;
        // The others end by themselves, however late on a busy machine.
        if how == "cancelled" {
            running.abort();
        }
        let ended = running
            .await
            .is_err_and(|error| error.is_panic() == (how == "panicked"));
        (ended || how == "failed").premise("the work ends as told")?;
        let what = format!("releasing the key of work that {how}");
        harness
            .eventually(lease / 4, &what, async || is_free(&once, &key).await)
            .await?;
    }
    Ok(())
}

/// A store that is away for a moment when the work is done gets the result when it is back.
pub async fn idemp_030_a_short_absence_at_the_end_is_bridged(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let once = over(&store, long_lease(&*store))?;
    let (key, work) = (harness.name("key"), Counted::default());
    let (gate, options) = (Arc::new(Notify::new()), remembering(&store));
    let executing = start(&once, &key, options.clone(), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    harness.disturb(Disturbance::GoAway).await?;
    gate.notify_one();
    harness.pass(Duration::from_millis(300)).await;
    harness.disturb(Disturbance::ComeBack).await?;
    let outcome = harness
        .within(SLACK * 5, "storing a result after a short absence", executing)
        .await???;
    check!(
        !outcome.is_replay(),
        "the outcome of the work itself is called a replay"
    );
    let again = once.execute_bytes(&key, options, work.giving("again")).await?;
    check!(
        again.is_replay(),
        "a result was called stored and is not remembered"
    );
    Ok(())
}

/// Whoever's result could not be stored is told that the outcome is unknown, and the next call may do the work again.
pub async fn idemp_031_a_result_that_was_not_stored_is_no_success(
    harness: &Harness<dyn OnceStore>,
) -> Outcome {
    let store = harness.client().await?;
    let lease = short_lease(harness, &*store);
    let once = over(&store, lease)?;
    let (key, work) = (harness.name("key"), Counted::default());
    let gate = Arc::new(Notify::new());
    let executing = start(&once, &key, remembering(&store), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    harness.disturb(Disturbance::GoAway).await?;
    gate.notify_one();
    let answer = harness
        .within(LONG_WAIT, "an answer while the store is away", executing)
        .await;
    harness.pass(lease).await;
    harness.disturb(Disturbance::ComeBack).await?;
    check_error!(
        answer??,
        ErrorKind::OutcomeUnknown,
        "work whose result could not be stored"
    );
    harness
        .pass(over_within(&*store, lease).saturating_sub(lease))
        .await;
    let again = execute(&once, &key, remembering(&store), work.giving("again")).await;
    // A breaker in between stays open for a while; that is its business.
    again.or_else(|failure| match failure.message().contains("circuit_open") {
        true => Ok(()),
        false => Err(Failure::broken(failure.message().to_owned())),
    })
}
