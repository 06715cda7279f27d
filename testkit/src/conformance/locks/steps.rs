//! What the scenarios of locks and elections have in common.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{LockGuard, LockOptions, Locks};
use infra_core::error::Result;
use tokio::task::JoinHandle;

use crate::conformance::{Failure, Harness, Outcome, Premise, Probe};

/// Longer than any scenario waits for a lock.
pub(crate) const LONG_WAIT: Duration = Duration::from_secs(600);

/// The lock, which is free and for that reason given out at once.
pub(crate) async fn hold(locks: &dyn Locks, name: &str, ttl: Duration) -> Result<LockGuard, Failure> {
    let answer = locks.try_acquire(name, ttl).await;
    answer
        .premise("a free lock is asked for")?
        .premise("a free lock is given out")
}

/// Waits for the lock in a task of its own.
pub(crate) fn wait_for(
    locks: &Arc<dyn Locks>,
    name: &str,
    options: LockOptions,
) -> JoinHandle<Result<LockGuard>> {
    let (locks, name) = (Arc::clone(locks), name.to_owned());
    tokio::spawn(async move { locks.acquire(&name, options).await })
}

/// Until so many hold or wait for the lock: exactly where the server can be looked into, else after a moment.
pub(crate) async fn queued(harness: &Harness<dyn Locks>, name: &str, length: u64) -> Outcome {
    let probe = || harness.probe(Probe::LockQueue { key: name.to_owned() });
    if probe().is_err() {
        harness.pass(Duration::from_millis(300)).await;
        return Ok(());
    }
    let queued = harness.eventually(Duration::from_secs(10), "the queue of the lock", async || {
        probe().is_ok_and(|seen| seen == length)
    });
    queued
        .await
        .premise("whoever asks for a lock stands in its queue")
}

/// How long it takes until the lock can be had, or a failure that says "`what`: not within `bound`".
pub(crate) async fn free_within(
    harness: &Harness<dyn Locks>,
    locks: &dyn Locks,
    name: &str,
    bound: Duration,
    what: &str,
) -> Result<LockGuard, Failure> {
    let ttl = crate::conformance::long_lease(locks);
    let attempts = async {
        loop {
            if let Some(guard) = locks.try_acquire(name, ttl).await? {
                return Ok::<_, Failure>(guard);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    harness.within(bound, what, attempts).await?
}

/// Drops a guard as a process does that ends without a word: renewal stops and nobody releases.
///
/// A best-effort release needs a runtime, and this thread has none.
pub(crate) fn abandon(guard: LockGuard) -> Outcome {
    let dropping = std::thread::spawn(move || drop(guard));
    dropping
        .join()
        .map_err(|_| Failure::broken("dropping a guard panicked"))
}
