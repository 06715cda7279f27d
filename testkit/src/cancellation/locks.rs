//! The cases of locks, elections and what holds them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::coordination::{Election, ElectionOptions, LockOptions, Locks, LocksExt};
use infra_core::{ErrorKind, Result};
use tokio::time::sleep;

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome, Premise, Subject};
use crate::time::eventually;
use crate::unique;

/// Much longer than anything waits for a lock that should be free, so that no lock is free because its lease ended.
const TTL: Duration = Duration::from_secs(120);

/// How long may pass until a lock that was given back is free.
const PROMPTLY: Duration = Duration::from_secs(3);

/// A short piece of work.
const MOMENT: Duration = Duration::from_millis(20);

/// A server of locks, of which one is free.
#[derive(Debug)]
pub struct LocksGround {
    route: Route,
    bare: Arc<dyn Locks>,
    locks: Arc<dyn Locks>,
    key: String,
}

impl LocksGround {
    /// A lock of its own in `bare`, which will be called over `route`.
    #[must_use]
    pub fn new(bare: Arc<dyn Locks>, route: Route) -> Self {
        Self {
            locks: <dyn Locks as Subject>::behind(route.stack(), bare.clone()),
            route,
            bare,
            key: unique("cancel"),
        }
    }

    fn options(&self) -> LockOptions {
        LockOptions::new(TTL).with_wait(Duration::from_secs(30))
    }

    fn election(&self) -> Result<Election> {
        Election::new(
            self.locks.clone(),
            &self.key,
            ElectionOptions::default().with_ttl(TTL),
        )
    }

    /// Waits for the lock while somebody else holds it for a moment.
    async fn acquire_after_another(&self) -> Outcome {
        let holder = self
            .bare
            .try_acquire(&self.key, TTL)
            .await?
            .premise("it is free")?;
        let waiting = self.locks.acquire(&self.key, self.options());
        let releasing = async {
            sleep(MOMENT).await;
            holder.release().await
        };
        let (acquired, released) = tokio::join!(waiting, releasing);
        released?;
        acquired?.release().await?;
        Ok(())
    }

    /// Waits in vain for the lock, which somebody else holds.
    async fn acquire_in_vain(&self) -> Outcome {
        let holder = self
            .bare
            .try_acquire(&self.key, TTL)
            .await?
            .premise("it is free")?;
        let options = self.options().with_wait(MOMENT);
        let refused = self.locks.acquire(&self.key, options).await;
        holder.release().await?;
        check!(
            refused
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Timeout),
            "{refused:?} although somebody else held the lock"
        );
        Ok(())
    }

    /// Three stand in the queue, and the one in the middle is given up with the others.
    async fn acquire_in_a_queue(&self) -> Outcome {
        let in_turn = async || {
            let guard = self.bare.acquire(&self.key, self.options()).await?;
            sleep(MOMENT).await;
            guard.release().await
        };
        let middle = async {
            sleep(MOMENT / 4).await;
            let guard = self.locks.acquire(&self.key, self.options()).await?;
            sleep(MOMENT).await;
            guard.release().await
        };
        let last = async {
            sleep(MOMENT / 2).await;
            in_turn().await
        };
        let (first, middle, last) = tokio::join!(in_turn(), middle, last);
        first?;
        middle?;
        last?;
        Ok(())
    }

    async fn campaign_after_another(&self) -> Outcome {
        let first = Election::new(
            self.bare.clone(),
            &self.key,
            ElectionOptions::default().with_ttl(TTL),
        )?;
        let leader = first.campaign().await?;
        let election = self.election()?;
        let resigning = async {
            sleep(MOMENT).await;
            leader.resign().await
        };
        let (elected, resigned) = tokio::join!(election.campaign(), resigning);
        resigned?;
        elected?.resign().await?;
        Ok(())
    }

    /// Whether the key is free, within a time that is much shorter than the lease.
    async fn becomes_free(&self, key: &str) -> Result<bool, Failure> {
        let free = eventually(PROMPTLY, async || match self.bare.try_acquire(key, TTL).await {
            Ok(Some(guard)) => guard.release().await.is_ok(),
            _ => false,
        });
        Ok(free.await)
    }
}

impl Ground for LocksGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async move {
            for key in [self.key.clone(), format!("election/{}", self.key)] {
                let free = self.becomes_free(&key).await?;
                check!(free, "lock {key:?} is held by nobody, and yet not free");
            }
            Ok("free".to_owned())
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move { self.bare.shutdown(Duration::from_secs(5)).await })
    }
}

/// Every operation of locks and elections.
#[must_use]
pub fn cases() -> Vec<Case<LocksGround>> {
    cases![
        "Locks::try_acquire" => |g| g.locks.try_acquire(&g.key, TTL).await?.premise("it is free")?,
        "Locks::acquire (a free one)" => |g| g.locks.acquire(&g.key, g.options()).await?,
        "Locks::acquire (held by another)" => |g| g.acquire_after_another().await?,
        "Locks::acquire (held for too long)" => |g| g.acquire_in_vain().await?,
        "Locks::acquire (in a queue)" => |g| g.acquire_in_a_queue().await?,
        "LockGuard::lost" => |g| {
            let guard = g.locks.acquire(&g.key, g.options()).await?;
            let lost = tokio::time::timeout(MOMENT, guard.lost()).await;
            check!(lost.is_err(), "the lock was lost");
        },
        "LockGuard::release" => |g| g.locks.acquire(&g.key, g.options()).await?.release().await?,
        "LocksExt::with_lock" => |g| {
            g.locks.with_lock(&g.key, g.options(), |_| async { sleep(MOMENT).await; Ok(()) }).await?
        },
        "Election::campaign" => |g| g.election()?.campaign().await?,
        "Election::campaign (led by another)" => |g| g.campaign_after_another().await?,
        "Election::lead" => |g| g.election()?.lead(|_| async { sleep(MOMENT).await; Ok(()) }).await?,
        "Leadership::lost" => |g| {
            let leadership = g.election()?.campaign().await?;
            let lost = tokio::time::timeout(MOMENT, leadership.lost()).await;
            check!(lost.is_err(), "leadership was lost");
        },
        "Leadership::resign" => |g| g.election()?.campaign().await?.resign().await?,
    ]
}
