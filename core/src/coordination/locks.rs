//! Locks as leases: renewed in the background, fenced, and honest about their loss.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseStatus};

/// A number that strictly increases from each owner of a lock to the next.
///
/// Hand it to the store that the lock protects and let the store refuse smaller ones: that alone makes a lock safe
/// against an owner that was paused past its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a lock is acquired.
///
/// ```
/// use std::time::Duration;
/// use infra_core::coordination::LockOptions;
///
/// let options = LockOptions::new(Duration::from_secs(30)).with_wait(Duration::from_secs(5));
/// assert_eq!(options.wait, Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockOptions {
    /// How long the server keeps the lock if its holder dies. It is renewed while the guard lives.
    pub ttl: Duration,
    /// How long to wait for the present holder. Default: 30 s.
    pub wait: Duration,
}

impl LockOptions {
    /// A lease of `ttl`, waiting at most 30 s.
    #[must_use]
    pub const fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            wait: Duration::from_secs(30),
        }
    }

    /// Waits at most this long.
    #[must_use]
    pub const fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// Mutual exclusion between processes.
///
/// # Contract
/// - At most one guard of a lock is valid at any instant, as far as leases can promise it: a holder that was paused past
///   its lease may believe itself valid until it looks. Use the fencing token where that matters.
/// - Not re-entrant: the same process waits for itself.
/// - Waiters are served in order of arrival where [`FairLocks`](crate::capability::Capability::FairLocks) is declared.
/// - A time to live of zero or outside the backend's limits is refused; sub-second ones are honoured or refused.
#[crate::intercept(component = "locks")]
#[async_trait]
pub trait Locks: Backend {
    /// Acquires the lock, waiting for the present holder.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) names the lock and the time waited; [`Closed`](ErrorKind::Closed) on shutdown
    /// while waiting; [`InvalidArgument`](ErrorKind::InvalidArgument) for the key or the time to live.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; if the lock was granted at that very moment it is released or ends by its
    /// time to live.
    #[call(waits)]
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard>;

    /// Acquires the lock if it is free now; `None` when somebody holds it.
    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>>;
}

crate::assert_object_safe!(Locks);

/// A lock that is held. Release it when done; dropping it releases it in the background, best effort.
#[derive(Debug)]
pub struct LockGuard {
    key: String,
    token: FencingToken,
    lease: Lease,
}

impl LockGuard {
    /// Puts a guard together, for backends.
    #[must_use]
    pub fn new(key: impl Into<String>, token: FencingToken, lease: Lease) -> Self {
        Self {
            key: key.into(),
            token,
            lease,
        }
    }

    /// The lock's key, as the caller named it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The token to hand to the store that the lock protects.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.token
    }

    /// The time to live that was asked for.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.lease.ttl()
    }

    /// Completes when the lock is known to be lost; never while it is held. Cancel-safe.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// A token that is cancelled when the lock is lost.
    #[must_use]
    pub fn lost_token(&self) -> CancellationToken {
        self.lease.lost_token()
    }

    /// An error if the lock is known to be lost.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost).
    pub fn check(&self) -> Result<()> {
        self.lease
            .check()
            .map_err(|error| error.context(format_args!("lock {:?}", self.key)))
    }

    /// What the work under this lock may know of it.
    #[must_use]
    pub fn held(&self) -> HeldLock {
        HeldLock {
            token: self.token,
            lost: self.lost_token(),
            status: self.lease.status(),
        }
    }

    /// Releases the lock now.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when it was not ours any more; a new owner was not touched.
    ///
    /// # Cancellation
    /// Dropping the future, at whatever point, releases the lock in the background, as dropping the guard does.
    pub async fn release(self) -> Result<()> {
        let Self { key, lease, .. } = self;
        lease
            .release()
            .await
            .map_err(|error| error.context(format_args!("releasing lock {key:?}")))
    }
}

/// What work that runs under a lock knows of it; the guard itself stays with whoever runs the work.
#[derive(Debug, Clone)]
pub struct HeldLock {
    token: FencingToken,
    lost: CancellationToken,
    status: LeaseStatus,
}

impl HeldLock {
    /// The token to hand to the store that the lock protects.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.token
    }

    /// Whether the loss of the lock is known. A process that was suspended beyond its lease knows it from its first instruction on,
    /// before any task of it has run.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.status.is_lost()
    }

    /// A token that is cancelled when the lock is lost, to hand to tasks that the work spawned.
    #[must_use]
    pub fn lost_token(&self) -> CancellationToken {
        self.lost.clone()
    }
}

/// Convenience over any [`Locks`]; do not implement it.
#[async_trait]
pub trait LocksExt: Locks {
    /// Runs `work` while holding the lock, and stops it (drops its future) when the lock is lost.
    ///
    /// # Errors
    /// The acquisition's, the work's, or [`LeaseLost`](ErrorKind::LeaseLost) when the lock was lost before the work
    /// finished, or turned out lost when it was released (the work was done, but not alone).
    ///
    /// # Cancellation
    /// Dropping the future stops the work and releases the lock in the background.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use infra_core::coordination::{LockOptions, Locks, LocksExt};
    ///
    /// let locks = infra_memory::MemoryCoordinator::new();
    /// let options = LockOptions::new(Duration::from_secs(30));
    /// let report = locks
    ///     .with_lock("daily-report", options, |held| async move { Ok(format!("written under {}", held.fencing_token())) })
    ///     .await?;
    /// assert!(report.starts_with("written under"));
    /// # Ok::<(), infra_core::Error>(())
    /// # }).unwrap();
    /// ```
    async fn with_lock<T, F, R>(&self, key: &str, options: LockOptions, work: F) -> Result<T>
    where
        T: Send,
        F: FnOnce(HeldLock) -> R + Send,
        R: Future<Output = Result<T>> + Send,
    {
        let guard = self.acquire(key, options).await?;
        let result = tokio::select! {
            biased;
            () = guard.lost() => Err(Error::new(
                ErrorKind::LeaseLost,
                format!("lock {key:?} was lost while the work was running; the work was stopped"),
            )),
            result = work(guard.held()) => result,
        };
        match (result, guard.release().await) {
            (Ok(value), Ok(())) => Ok(value),
            (Ok(_), Err(error)) => Err(error),
            (Err(error), released) => {
                if let Err(release) = released {
                    tracing::debug!(error = %release, "a lock was not released after its work failed");
                }
                Err(error)
            }
        }
    }
}

impl<L: Locks + ?Sized> LocksExt for L {}
