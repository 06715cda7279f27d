//! Leases: the one mechanism behind locks, instance ids, registrations and leadership.
//!
//! A backend implements [`LeaseKeeper`] (renew, release); this module renews in the background, notices the loss, and
//! makes sure that release and drop do the right thing once. It may touch tokio's clock and tasks, nothing else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, ErrorKind, Result};

/// What a backend does for one lease that it granted.
#[async_trait]
pub trait LeaseKeeper: fmt::Debug + Send + Sync + 'static {
    /// Extends the lease to its full time to live from now.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when the server says that it is no longer ours: the lease ends at once. Any
    /// other error is repeated until the time to live has passed since the last success.
    async fn renew(&self) -> Result<()>;

    /// Gives the lease back, if and only if it is still ours (compare the owner, then delete).
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when it was not ours any more; nothing of the new owner was touched.
    async fn release(&self) -> Result<()>;
}

/// How a lease is kept.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LeaseOptions {
    /// How long the server keeps the lease without a renewal.
    pub ttl: Duration,
    /// How often it is renewed. Default: a third of `ttl`, so that two renewals may fail.
    pub renew_every: Duration,
}

impl LeaseOptions {
    /// Renews every third of `ttl`.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            renew_every: ttl / 3,
        }
    }
}

/// A lease that is held, renewed in the background until it is released, dropped or lost.
///
/// # Cancellation
/// Dropping a lease never blocks: renewal stops at once, and where a tokio runtime is running, a best-effort release is
/// spawned; without one (or when it fails) the server frees the lease when its time to live has passed.
pub struct Lease {
    keeper: Arc<dyn LeaseKeeper>,
    ttl: Duration,
    status: LeaseStatus,
    /// Cancels the renewal task when dropped.
    renewal: Option<DropGuard>,
    /// Whether the lease is to be given back when it is dropped.
    owed: bool,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("keeper", &self.keeper)
            .field("ttl", &self.ttl)
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// Starts to keep a lease that the server granted at `granted_at`.
    ///
    /// `granted_at` is the moment *before* the request was sent, so that our idea of the deadline is never later than
    /// the server's. Must be called on a tokio runtime.
    #[must_use]
    pub fn keep(keeper: Arc<dyn LeaseKeeper>, options: LeaseOptions, granted_at: Instant) -> Self {
        let status = LeaseStatus::new(granted_at, options.ttl);
        let stop = CancellationToken::new();
        tokio::spawn(renew_until_stopped(
            Arc::clone(&keeper),
            options,
            granted_at,
            status.clone(),
            stop.clone(),
        ));
        Self {
            keeper,
            ttl: options.ttl,
            status,
            renewal: Some(stop.drop_guard()),
            owed: true,
        }
    }

    /// The time to live that was asked for.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether the loss of this lease is known. `false` is no proof: between two renewals only the server knows.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.status.is_lost()
    }

    /// Completes when the lease is known to be lost; never while it is held. Cancel-safe.
    pub async fn lost(&self) {
        self.status.shared.lost.cancelled().await;
    }

    /// A token that is cancelled on loss, to hand to whatever must stop with the lease.
    #[must_use]
    pub fn lost_token(&self) -> CancellationToken {
        self.status.shared.lost.clone()
    }

    /// A view of this lease for code that asks very often, such as a generator of ids.
    #[must_use]
    pub fn status(&self) -> LeaseStatus {
        self.status.clone()
    }

    /// An error if the loss of this lease is known.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost).
    pub fn check(&self) -> Result<()> {
        if self.is_lost() { Err(lost_error()) } else { Ok(()) }
    }

    /// Stops keeping the lease without giving it back: what it stood for is done, and the server knows already.
    pub fn forget(mut self) {
        self.owed = false;
    }

    /// Gives the lease back now.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when it was no longer ours; otherwise what the backend answered, in which case
    /// the server frees it when its time to live has passed.
    ///
    /// # Cancellation
    /// Dropping the future stops the renewal and releases in the background, as dropping the lease does; giving back twice what
    /// was ours once touches nothing of a new owner.
    pub async fn release(mut self) -> Result<()> {
        self.check()?;
        drop(self.renewal.take());
        // Until there is an answer, `drop` owes the release: whoever gives up here must not wait for the time to live.
        let answer = self.keeper.release().await;
        self.owed = false;
        answer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.renewal.take());
        if !self.owed || self.is_lost() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let keeper = Arc::clone(&self.keeper);
            runtime.spawn(async move {
                if let Err(error) = keeper.release().await {
                    tracing::debug!(%error, "a dropped lease was not released; it ends by its time to live");
                }
            });
        }
    }
}

/// Whether a lease is lost, without a lock and without a task having to run: also true from the moment at which the time
/// to live has passed since the last renewal, so that a process that was suspended finds out before it does anything.
#[derive(Debug, Clone)]
pub struct LeaseStatus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    lost: CancellationToken,
    ended: AtomicBool,
    granted_at: Instant,
    /// Until when the lease is valid, in nanoseconds after `granted_at`.
    valid_for: AtomicU64,
}

impl LeaseStatus {
    fn new(granted_at: Instant, ttl: Duration) -> Self {
        let status = Self {
            shared: Arc::new(Shared {
                lost: CancellationToken::new(),
                ended: AtomicBool::new(false),
                granted_at,
                valid_for: AtomicU64::new(0),
            }),
        };
        status.extend(granted_at + ttl);
        status
    }

    /// Whether the loss of the lease is known; see [`Lease::is_lost`].
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let shared = &*self.shared;
        shared.ended.load(Ordering::Acquire)
            || nanoseconds(shared.granted_at.elapsed()) >= shared.valid_for.load(Ordering::Acquire)
    }

    fn extend(&self, valid_until: Instant) {
        let valid_for = valid_until.duration_since(self.shared.granted_at);
        self.shared
            .valid_for
            .store(nanoseconds(valid_for), Ordering::Release);
    }

    fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.lost.cancel();
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn lost_error() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the lease is no longer held; stop the work that depended on it and acquire it again",
    )
}

async fn renew_until_stopped(
    keeper: Arc<dyn LeaseKeeper>,
    options: LeaseOptions,
    granted_at: Instant,
    status: LeaseStatus,
    stop: CancellationToken,
) {
    let mut valid_until = granted_at + options.ttl;
    let mut wait = jittered(options.renew_every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(valid_until.min(Instant::now() + wait)) => {}
        }
        let asked_at = Instant::now();
        let renewed = tokio::select! {
            () = stop.cancelled() => return,
            answer = tokio::time::timeout_at(valid_until, keeper.renew()) => answer,
        };
        match renewed {
            Ok(Ok(())) => {
                valid_until = asked_at + options.ttl;
                status.extend(valid_until);
                wait = jittered(options.renew_every);
            }
            Ok(Err(error)) if error.kind() == ErrorKind::LeaseLost => {
                tracing::warn!(%error, "a lease was lost");
                return status.end();
            }
            Ok(Err(error)) if Instant::now() < valid_until => {
                tracing::warn!(%error, "a lease could not be renewed; trying again while it is still valid");
                wait = options.renew_every / 4;
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(ttl = ?options.ttl, "a lease was lost: it could not be renewed within its time to live");
                return status.end();
            }
        }
    }
}

/// Spreads renewals over 80 to 100 % of the interval, so that leases granted together do not renew together.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.8 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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
}
