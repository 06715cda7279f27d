//! Leases: the one mechanism behind locks, instance ids, registrations and leadership.
//!
//! A backend implements [`LeaseKeeper`] (renew, release); this module renews in the background, notices the loss, and
//! makes sure that release and drop do the right thing once. Where a server's leases can carry many keys, a [`LeasePool`] has
//! one for all holders of the process. It may touch tokio's clock and tasks, nothing else.

mod pool;
mod renewal;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::pool::{LeaseGrantor, LeasePool, SharedLease};
pub(crate) use self::renewal::jittered;
pub use self::status::LeaseStatus;
use crate::error::{Error, ErrorKind, Result};

/// What a backend does for one lease that it granted.
#[async_trait]
pub trait LeaseKeeper: fmt::Debug + Send + Sync + 'static {
    /// Extends the lease to its full time to live from now. Where it stands on a [`SharedLease`], which is renewed for all its
    /// holders, this only makes sure that what it stands for is still ours.
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
        tokio::spawn(renewal::renew_until_stopped(
            Arc::clone(&keeper),
            options,
            granted_at,
            status.clone(),
            stop.clone(),
        ));
        Self::kept(keeper, options.ttl, status, stop)
    }

    /// Starts to keep what was made under a lease that others share: it is lost with that lease, or when `keeper` finds, every
    /// third of the time to live, that it is no longer ours. Must be called on a tokio runtime.
    #[must_use]
    pub fn share<I>(shared: &SharedLease<I>, keeper: Arc<dyn LeaseKeeper>) -> Self {
        let status = shared.status().part();
        let stop = CancellationToken::new();
        tokio::spawn(renewal::check_until_stopped(
            Arc::clone(&keeper),
            LeaseOptions::new(shared.ttl()),
            status.clone(),
            stop.clone(),
        ));
        Self::kept(keeper, shared.ttl(), status, stop)
    }

    fn kept(
        keeper: Arc<dyn LeaseKeeper>,
        ttl: Duration,
        status: LeaseStatus,
        stop: CancellationToken,
    ) -> Self {
        Self {
            keeper,
            ttl,
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
        self.status.lost_token().cancelled().await;
    }

    /// A token that is cancelled on loss, to hand to whatever must stop with the lease.
    #[must_use]
    pub fn lost_token(&self) -> CancellationToken {
        self.status.lost_token().clone()
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

fn lost_error() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the lease is no longer held; stop the work that depended on it and acquire it again",
    )
}
