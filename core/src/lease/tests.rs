//! Leases of one holder: kept, lost, released, dropped.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::coordination::{FencingToken, LockGuard};
use crate::error::Error;

#[derive(Debug, Default)]
struct Scripted {
    renewals: AtomicUsize,
    releases: AtomicUsize,
    failing: Mutex<Option<ErrorKind>>,
    /// How many times a release waits before it has any effect.
    waits: usize,
}

#[async_trait]
impl LeaseKeeper for Scripted {
    async fn renew(&self) -> Result<()> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        match *self.failing.lock().expect("not poisoned") {
            Some(kind) => Err(Error::new(kind, "scripted")),
            None => Ok(()),
        }
    }

    async fn release(&self) -> Result<()> {
        for _ in 0..self.waits {
            tokio::task::yield_now().await;
        }
        self.releases.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn keep(keeper: &Arc<Scripted>) -> Lease {
    let keeper: Arc<dyn LeaseKeeper> = keeper.clone();
    Lease::keep(keeper, LeaseOptions::new(Duration::from_secs(9)), Instant::now())
}

#[tokio::test(start_paused = true)]
async fn is_renewed_while_held_and_released_once() {
    let keeper = Arc::new(Scripted::default());
    let lease = keep(&keeper);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!lease.is_lost());
    assert!(keeper.renewals.load(Ordering::SeqCst) >= 19);
    lease.release().await.expect("still ours");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(keeper.releases.load(Ordering::SeqCst), 1);
    assert!(
        keeper.renewals.load(Ordering::SeqCst) <= 26,
        "renewal stopped with the release"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_loses_the_lease_within_its_time_to_live() {
    let keeper = Arc::new(Scripted::default());
    let lease = keep(&keeper);
    *keeper.failing.lock().expect("not poisoned") = Some(ErrorKind::Unavailable);
    let begun = Instant::now();
    lease.lost().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(9));
    assert_eq!(
        lease.release().await.expect_err("lost").kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(
        keeper.releases.load(Ordering::SeqCst),
        0,
        "a lost lease is not ours to release"
    );
}

/// A suspended process: time passes, and nothing of it ran.
#[tokio::test(start_paused = true)]
async fn the_end_is_known_before_any_task_has_run() {
    let keeper = Arc::new(Scripted::default());
    let lease = keep(&keeper);
    let status = lease.status();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!status.is_lost());
    *keeper.failing.lock().expect("not poisoned") = Some(ErrorKind::Unavailable);
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(status.is_lost());
    assert_eq!(lease.check().expect_err("over").kind(), ErrorKind::LeaseLost);
}

/// The same, seen by the work that runs under a lock.
#[tokio::test(start_paused = true)]
async fn work_under_a_lock_knows_the_end_before_any_task_has_run() {
    let keeper = Arc::new(Scripted::default());
    let guard = LockGuard::new("report", FencingToken(1), keep(&keeper));
    let held = guard.held();
    assert!(!held.is_lost());
    *keeper.failing.lock().expect("not poisoned") = Some(ErrorKind::Unavailable);
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(held.is_lost());
}

#[tokio::test(start_paused = true)]
async fn the_servers_word_ends_the_lease_at_the_next_renewal() {
    let keeper = Arc::new(Scripted::default());
    let lease = keep(&keeper);
    *keeper.failing.lock().expect("not poisoned") = Some(ErrorKind::LeaseLost);
    let begun = Instant::now();
    lease.lost().await;
    assert!(begun.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lease_is_released_in_the_background() {
    let keeper = Arc::new(Scripted::default());
    drop(keep(&keeper));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(keeper.releases.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_given_up_is_finished_in_the_background() {
    for polls in 0..=3 {
        let keeper = Arc::new(Scripted {
            waits: 3,
            ..Scripted::default()
        });
        let mut release = Box::pin(keep(&keeper).release());
        for _ in 0..polls {
            assert!(futures_util::poll!(&mut release).is_pending());
        }
        drop(release);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(keeper.releases.load(Ordering::SeqCst), 1, "after {polls} polls");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            keeper.renewals.load(Ordering::SeqCst),
            0,
            "it is not renewed any more"
        );
    }
}
