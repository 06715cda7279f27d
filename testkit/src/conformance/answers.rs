//! What many calls answered, and what a call leaves that is dropped: for scenarios that say the same of every operation of a contract.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use infra_core::error::{ErrorKind, Result};

use super::disturbance::Probe;
use super::harness::Harness;
use super::lease::SLACK;
use super::subject::Subject;
use super::verdict::{Failure, Outcome, Premise};
use super::{check, check_error};

/// What calls answered, by their names.
pub(crate) type Answers = Vec<(&'static str, Result<()>)>;

/// Fails unless every call was refused with this kind; `when` completes "hash_get …".
pub(crate) fn all_refused(answers: Answers, kind: ErrorKind, when: &str) -> Outcome {
    for (call, answer) in answers {
        check_error!(answer, kind, "{call} {when}");
    }
    Ok(())
}

/// Fails unless every call that was made while the server was away says that it is, and that it may be tried again.
pub(crate) fn all_unavailable(answers: Answers) -> Outcome {
    for (call, answer) in answers {
        let error = check_error!(answer, ErrorKind::Unavailable, "{call} while the server is away");
        check!(
            error.is_retryable(),
            "the server may come back, and {call} says never: {error:?}"
        );
    }
    Ok(())
}

/// Polls a future at most so many times, letting others run in between, and drops it; with 0 polls it never begins.
pub(crate) async fn poll_then_drop(polls: u32, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Opens a watch, sees it at the server, drops it, and fails unless it ends there without waiting for a change.
pub(crate) async fn unsubscribed_when_dropped<T: Subject + ?Sized, W>(
    harness: &Harness<T>,
    opening: impl Future<Output = Result<W, Failure>>,
) -> Outcome {
    let before = harness.probe(Probe::Watches)?;
    let watch = opening.await?;
    let open = harness.eventually(SLACK, "a watch that can be seen", async || {
        harness.probe(Probe::Watches).is_ok_and(|open| open == before + 1)
    });
    open.await.premise("an open watch is counted")?;
    drop(watch);
    harness
        .eventually(
            SLACK * 5,
            "the end of a dropped watch at the server",
            async || harness.probe(Probe::Watches).is_ok_and(|open| open == before),
        )
        .await
}
