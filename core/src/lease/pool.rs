//! Leases that many holders of a process share: granted once for each time to live, renewed once, lost by all at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Lease, LeaseKeeper, LeaseOptions, LeaseStatus};
use crate::error::{Error, Result};

/// What a backend does for leases of its server that carry any number of keys: etcd's leases, Consul's sessions.
#[async_trait]
pub trait LeaseGrantor: fmt::Debug + Send + Sync + 'static {
    /// What the server calls a lease.
    type Id: fmt::Debug + Send + Sync + 'static;

    /// Asks for a lease that the server keeps for at least `ttl` without a renewal.
    async fn grant(&self, ttl: Duration) -> Result<Self::Id>;

    /// Extends the lease to its full time to live from now.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when the server does not know it any more.
    async fn renew(&self, id: &Self::Id) -> Result<()>;

    /// Ends the lease, and with it whatever was made under it.
    async fn revoke(&self, id: &Self::Id) -> Result<()>;
}

/// The leases of one client: one for each time to live that its holders ask for.
///
/// A lease is granted with the first holder and renewed in the background, once for all of them. When it has had no holder for
/// its time to live, it is given back. When it is lost, each [`Lease::share`] on it is lost with it, and the next holder gets a
/// new one. Clones are one pool.
pub struct LeasePool<G: LeaseGrantor> {
    shared: Arc<Pool<G>>,
}

impl<G: LeaseGrantor> Clone for LeasePool<G> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<G: LeaseGrantor> fmt::Debug for LeasePool<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasePool")
            .field("grantor", &self.shared.grantor)
            .finish_non_exhaustive()
    }
}

struct Pool<G: LeaseGrantor> {
    grantor: Arc<G>,
    slots: StdMutex<HashMap<Duration, Arc<Slot<G::Id>>>>,
    ended: AtomicBool,
}

/// The lease of one time to live; locked while it is asked for, so that it is asked for once.
type Slot<I> = Mutex<Option<SharedLease<I>>>;

/// A lease of the server that several holders share. Clones are the same lease; it is given back when none is left.
pub struct SharedLease<I> {
    inner: Arc<Granted<I>>,
}

struct Granted<I> {
    id: Arc<I>,
    lease: Lease,
    /// How often it was handed out.
    handed_out: AtomicU64,
}

impl<I> Clone for SharedLease<I> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<I: fmt::Debug> fmt::Debug for SharedLease<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLease")
            .field("id", &self.inner.id)
            .field("lost", &self.inner.lease.is_lost())
            .finish_non_exhaustive()
    }
}

impl<I> SharedLease<I> {
    /// What the server calls it.
    #[must_use]
    pub fn id(&self) -> &I {
        &self.inner.id
    }

    /// The time to live that was asked for.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.inner.lease.ttl()
    }

    /// Whether its loss is known.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.inner.lease.is_lost()
    }

    /// Completes when it is known to be lost. Cancel-safe.
    pub async fn lost(&self) {
        self.inner.lease.lost().await;
    }

    /// A token that is cancelled on loss.
    #[must_use]
    pub fn lost_token(&self) -> CancellationToken {
        self.inner.lease.lost_token()
    }

    /// Notes that the server does not know it any more, as a backend may find out before the next renewal does: all its holders
    /// are told, and the pool asks for another one.
    pub fn report_lost(&self) {
        self.status().end();
    }

    pub(super) fn status(&self) -> &LeaseStatus {
        &self.inner.lease.status
    }

    /// Whether it may be given to another holder: it is not close to its end, as it is when renewals fail.
    fn is_fresh(&self) -> bool {
        !self.is_lost() && self.status().remaining() >= self.ttl() / 2
    }
}

impl<G: LeaseGrantor> LeasePool<G> {
    /// A pool with no lease yet.
    #[must_use]
    pub fn new(grantor: G) -> Self {
        Self {
            shared: Arc::new(Pool {
                grantor: Arc::new(grantor),
                slots: StdMutex::default(),
                ended: AtomicBool::new(false),
            }),
        }
    }

    /// The lease of this time to live: the one that others hold, or a new one. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// Those of [`LeaseGrantor::grant`]; [`Closed`](crate::ErrorKind::Closed) after [`end`](Self::end).
    ///
    /// # Cancellation
    /// A lease that was granted meanwhile ends by its time to live.
    pub async fn lease(&self, ttl: Duration) -> Result<SharedLease<G::Id>> {
        let slot = Arc::clone(self.shared.slots().entry(ttl).or_default());
        let mut current = slot.lock().await;
        self.shared.check_open()?;
        if let Some(lease) = current.as_ref().filter(|lease| lease.is_fresh()) {
            lease.inner.handed_out.fetch_add(1, Ordering::Relaxed);
            return Ok(lease.clone());
        }
        let lease = self.shared.grant(ttl).await?;
        // Looked at again: whoever ended the pool meanwhile may not have seen this lease; dropping it gives it back.
        self.shared.check_open()?;
        *current = Some(lease.clone());
        tokio::spawn(give_back_when_idle(
            Arc::downgrade(&slot),
            Arc::downgrade(&lease.inner),
        ));
        Ok(lease)
    }

    /// Gives every lease back, and with them whatever was made under them: each holder is told that its lease is lost.
    ///
    /// # Errors
    /// The first of [`LeaseGrantor::revoke`]; that lease ends by its time to live.
    pub async fn end(&self) -> Result<()> {
        self.shared.ended.store(true, Ordering::Release);
        let slots: Vec<_> = self.shared.slots().drain().map(|(_, slot)| slot).collect();
        let mut answer = Ok(());
        for slot in slots {
            let Some(lease) = slot.lock().await.take() else {
                continue;
            };
            if !lease.is_lost() {
                lease.status().end();
                answer = answer.and(self.shared.grantor.revoke(lease.id()).await);
            }
        }
        answer
    }
}

impl<G: LeaseGrantor> Pool<G> {
    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<Duration, Arc<Slot<G::Id>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return Err(Error::closed("the client that held these leases"));
        }
        Ok(())
    }

    async fn grant(&self, ttl: Duration) -> Result<SharedLease<G::Id>> {
        let asked_at = Instant::now();
        let id = Arc::new(self.grantor.grant(ttl).await?);
        let keeper = Arc::new(Keeper {
            grantor: Arc::clone(&self.grantor),
            id: Arc::clone(&id),
        });
        Ok(SharedLease {
            inner: Arc::new(Granted {
                id,
                lease: Lease::keep(keeper, LeaseOptions::new(ttl), asked_at),
                handed_out: AtomicU64::new(1),
            }),
        })
    }
}

/// Keeps a shared lease with the server.
struct Keeper<G: LeaseGrantor> {
    grantor: Arc<G>,
    id: Arc<G::Id>,
}

impl<G: LeaseGrantor> fmt::Debug for Keeper<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<G: LeaseGrantor> LeaseKeeper for Keeper<G> {
    async fn renew(&self) -> Result<()> {
        self.grantor.renew(&self.id).await
    }

    async fn release(&self) -> Result<()> {
        self.grantor.revoke(&self.id).await
    }
}

/// Takes a lease out of its slot when it is lost, or when nobody has held it for its time to live.
async fn give_back_when_idle<I>(slot: Weak<Slot<I>>, granted: Weak<Granted<I>>) {
    loop {
        let Some((ttl, lost, handed_out)) = granted.upgrade().map(|granted| {
            (
                granted.lease.ttl(),
                granted.lease.lost_token(),
                granted.handed_out.load(Ordering::Relaxed),
            )
        }) else {
            return;
        };
        tokio::select! {
            () = lost.cancelled() => {}
            () = tokio::time::sleep(ttl) => {}
        }
        let Some(slot) = slot.upgrade() else { return };
        let mut current = slot.lock().await;
        let Some(lease) = current
            .as_ref()
            .filter(|lease| Weak::ptr_eq(&Arc::downgrade(&lease.inner), &granted))
        else {
            return; // another one has its place, and its holders keep it
        };
        let is_idle = Arc::strong_count(&lease.inner) == 1
            && lease.inner.handed_out.load(Ordering::Relaxed) == handed_out;
        if is_idle || lease.is_lost() {
            *current = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests;
