//! What the scenarios of idempotent operations have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::once::{
    Claim, ClaimRequest, Once, OnceConfig, OnceOptions, OnceOutcome, OnceStatus, OnceStore, StoreOnce,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::conformance::{Failure, Harness, Outcome, Premise, long_lease};

/// Longer than any scenario waits for a result.
pub(super) const LONG_WAIT: Duration = Duration::from_secs(600);

/// Idempotent operations of one client.
pub(super) fn over(store: &Arc<dyn OnceStore>, lease: Duration) -> Result<Arc<StoreOnce>, Failure> {
    let once = StoreOnce::new(Arc::clone(store), OnceConfig::development().with_lease(lease));
    once.premise("the lease fits the store").map(Arc::new)
}

/// Remembers results for longer than any scenario takes.
pub(super) fn remembering(store: &Arc<dyn OnceStore>) -> OnceOptions {
    OnceOptions::new(long_lease(&**store))
}

/// Work that counts how often it was begun.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(super) fn begun(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Gives this result at once.
    pub(super) fn giving(&self, result: &'static str) -> infra_core::once::Work<'static> {
        let begun = Arc::clone(&self.0);
        Box::pin(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from_static(result.as_bytes()))
        })
    }

    /// Gives this result after a time.
    pub(super) fn after(&self, time: Duration, result: &'static str) -> infra_core::once::Work<'static> {
        let begun = Arc::clone(&self.0);
        Box::pin(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(time).await;
            Ok(Bytes::from_static(result.as_bytes()))
        })
    }

    /// Gives this result when the gate is opened.
    pub(super) fn behind(&self, gate: &Arc<Notify>, result: &'static str) -> infra_core::once::Work<'static> {
        let (begun, gate) = (Arc::clone(&self.0), Arc::clone(gate));
        Box::pin(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            Ok(Bytes::from_static(result.as_bytes()))
        })
    }

    /// Fails at once.
    pub(super) fn failing(&self) -> infra_core::once::Work<'static> {
        let begun = Arc::clone(&self.0);
        Box::pin(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            Err(failed())
        })
    }
}

/// How work fails in these scenarios.
pub(super) fn failed() -> Error {
    Error::new(ErrorKind::PermissionDenied, "the work failed as told")
}

/// Executes in a task of its own.
pub(super) fn start(
    once: &Arc<StoreOnce>,
    key: &str,
    options: OnceOptions,
    work: infra_core::once::Work<'static>,
) -> JoinHandle<Result<OnceOutcome<Bytes>>> {
    let (once, key) = (Arc::clone(once), key.to_owned());
    tokio::spawn(async move { once.execute_bytes(&key, options, work).await })
}

/// Until the work has begun, which stands for: until its key is claimed.
pub(super) async fn begun(harness: &Harness<dyn OnceStore>, work: &Counted, times: usize) -> Outcome {
    let begun = harness.eventually(Duration::from_secs(10), "beginning the work", async || {
        work.begun() == times
    });
    begun
        .await
        .premise("the work of a key that nobody knows is begun")
}

/// Executes work of a key that nobody knows.
pub(super) async fn execute(
    once: &Arc<StoreOnce>,
    key: &str,
    options: OnceOptions,
    work: infra_core::once::Work<'static>,
) -> Outcome {
    let outcome = once.execute_bytes(key, options, work).await;
    let outcome = outcome.premise("the work of a key that nobody knows is done")?;
    (!outcome.is_replay()).premise("the work of a key that nobody knows is done")
}

/// Claims a key that is free, and gives the fence.
pub(super) async fn claimed(
    store: &dyn OnceStore,
    key: &str,
    owner: &str,
    lease: Duration,
) -> Result<u64, Failure> {
    let answer = store.claim(ClaimRequest::new(key, owner, lease)).await;
    match answer.premise("a free key is claimed")? {
        Claim::Acquired { fence } => Ok(fence),
        other => Err(Failure::premise(format!(
            "a free key was not given to its claimant: {other:?}"
        ))),
    }
}

/// Whether a key is claimed by nobody and has no result.
pub(super) async fn is_free(once: &StoreOnce, key: &str) -> bool {
    matches!(once.status(key).await, Ok(OnceStatus::Unknown))
}
