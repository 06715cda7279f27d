//! Leader election: a lock that one candidate holds for as long as it leads.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::locks::{FencingToken, HeldLock, LockGuard, LockOptions, Locks};
use crate::error::{Error, ErrorKind, Result};

/// How candidates behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ElectionOptions {
    /// How long a dead leader is waited for. Default: 15 s.
    pub ttl: Duration,
    /// The pause before standing again after an error. Default: 1 s.
    pub pause: Duration,
}

impl Default for ElectionOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(15),
            pause: Duration::from_secs(1),
        }
    }
}

impl ElectionOptions {
    /// Sets how long a dead leader is waited for.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the pause before standing again after an error.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// An election by name, over any [`Locks`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use infra_core::coordination::{Election, ElectionOptions};
///
/// let locks = Arc::new(infra_memory::MemoryCoordinator::new());
/// let election = Election::new(locks, "report-writer", ElectionOptions::default())?;
/// let leadership = election.campaign().await?;
/// assert!(!leadership.is_lost());
/// leadership.resign().await?;
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Election {
    locks: Arc<dyn Locks>,
    key: String,
    options: ElectionOptions,
}

impl Election {
    /// Stands for election under `name`.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a name or time to live that the backend cannot take.
    pub fn new(locks: Arc<dyn Locks>, name: &str, options: ElectionOptions) -> Result<Self> {
        let key = format!("election/{name}");
        let limits = *locks.capabilities().limits();
        limits.check_key("election name", name)?;
        limits.check_key("election name", &key)?;
        limits.check_ttl(options.ttl)?;
        Ok(Self { locks, key, options })
    }

    /// Waits until this candidate leads, however long that takes.
    ///
    /// # Errors
    /// The backend's, [`Closed`](ErrorKind::Closed) on shutdown; running out of time is not among them.
    ///
    /// # Cancellation
    /// Dropping the future withdraws the candidate.
    pub async fn campaign(&self) -> Result<Leadership> {
        let options = LockOptions::new(self.options.ttl).with_wait(Duration::from_secs(3600));
        loop {
            match self.locks.acquire(&self.key, options).await {
                Ok(guard) => return Ok(Leadership { guard }),
                // Usually the wait above; but a timeout of a connection comes at once, again and again.
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    tokio::time::sleep(self.options.pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Leads again and again: runs `work` whenever this candidate leads and drops it when leadership is lost, until the
    /// work returns or the election cannot go on.
    ///
    /// # Errors
    /// The work's own, or an error of the backend that repeating cannot mend.
    ///
    /// # Cancellation
    /// Dropping the future stops the work and resigns in the background.
    pub async fn lead<T, F, R>(&self, mut work: F) -> Result<T>
    where
        F: FnMut(HeldLock) -> R,
        R: Future<Output = Result<T>>,
    {
        loop {
            let leadership = match self.campaign().await {
                Ok(leadership) => leadership,
                Err(error) if error.may_pass() => {
                    tracing::warn!(%error, election = self.key, "an election was disturbed; standing again");
                    tokio::time::sleep(self.options.pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let lost = leadership.lost_token();
            tokio::select! {
                biased;
                () = lost.cancelled() => {
                    tracing::warn!(election = self.key, "leadership was lost; standing again");
                }
                result = work(leadership.guard.held()) => {
                    if let Err(error) = leadership.resign().await {
                        tracing::debug!(%error, "leadership ended before it was resigned");
                    }
                    return result;
                }
            }
        }
    }
}

/// Leadership that is held. Dropping it resigns in the background.
#[derive(Debug)]
pub struct Leadership {
    guard: LockGuard,
}

impl Leadership {
    /// The token of this term: strictly greater than that of any earlier leader.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.guard.fencing_token()
    }

    /// Whether the loss of leadership is known.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.guard.lost_token().is_cancelled()
    }

    /// Completes when leadership is known to be lost. Cancel-safe.
    pub async fn lost(&self) {
        self.guard.lost().await;
    }

    /// A token that is cancelled when leadership is lost.
    #[must_use]
    pub fn lost_token(&self) -> CancellationToken {
        self.guard.lost_token()
    }

    /// Gives leadership up, so that the next candidate leads at once.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when it was lost before.
    ///
    /// # Cancellation
    /// Dropping the future, at whatever point, resigns in the background.
    pub async fn resign(self) -> Result<()> {
        self.guard
            .release()
            .await
            .map_err(|error: Error| error.context("resigning"))
    }
}
