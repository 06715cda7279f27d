//! The cases of idempotent operations, over any store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use infra_core::once::{ClaimRequest, Once, OnceConfig, OnceExt, OnceOptions, OnceStore, StoreOnce};
use infra_core::{ErrorKind, Result};
use tokio::time::sleep;

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome, Subject};
use crate::unique;

/// Longer than any run.
const TTL: Duration = Duration::from_secs(120);

/// How long the work takes.
const MOMENT: Duration = Duration::from_millis(20);

const OWNER: &str = "owner";

/// A store, and idempotent operations on it.
#[derive(Debug)]
pub struct OnceGround {
    route: Route,
    bare: Arc<dyn OnceStore>,
    store: Arc<dyn OnceStore>,
    once: StoreOnce,
    /// The key of operations, and the one that the store has for it.
    key: String,
    full_key: String,
    /// A key that is claimed from the beginning.
    claimed: String,
}

impl OnceGround {
    /// Keys of its own in `bare`, which will be called over `route`.
    ///
    /// # Errors
    /// The backend's, also for a lease that it cannot keep.
    pub async fn new(bare: Arc<dyn OnceStore>, route: Route) -> Result<Self, Failure> {
        let store = <dyn OnceStore as Subject>::behind(route.stack(), bare.clone());
        let config = OnceConfig::development().with_prefix("once:").with_lease(TTL);
        let key = unique("cancel");
        let claimed = format!("claimed:{key}");
        bare.claim(ClaimRequest::new(&claimed, OWNER, TTL)).await?;
        Ok(Self {
            once: StoreOnce::new(store.clone(), config)?,
            full_key: format!("once:{key}"),
            claimed,
            key,
            route,
            bare,
            store,
        })
    }

    fn request(&self) -> ClaimRequest {
        ClaimRequest::new(&self.full_key, OWNER, TTL)
    }

    async fn claim(&self) -> Outcome {
        self.store.claim(self.request()).await?;
        Ok(())
    }

    async fn execute(&self) -> Outcome {
        let work = async {
            sleep(MOMENT).await;
            Ok(7)
        };
        let outcome = self.once.execute(&self.key, OnceOptions::new(TTL), work).await?;
        check!(outcome.into_inner() == 7, "another result than the work's");
        Ok(())
    }

    /// Two at once, of whom one works and the other waits.
    async fn execute_together(&self) -> Outcome {
        let (first, second) = tokio::join!(self.execute(), self.execute());
        first?;
        second
    }

    async fn fail(&self) -> Outcome {
        let work = async {
            sleep(MOMENT).await;
            Err::<u32, _>(infra_core::Error::invalid_argument("the work fails"))
        };
        let failed = self.once.execute(&self.key, OnceOptions::new(TTL), work).await;
        check!(failed.is_err(), "{failed:?} although the work fails");
        Ok(())
    }
}

impl Ground for OnceGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async move {
            let of_operations = self.bare.status(&self.full_key).await?;
            let claimed = self.bare.status(&self.claimed).await?;
            Ok(format!("{of_operations:?}, claimed before: {claimed:?}"))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move {
            self.bare.clear(&self.full_key).await?;
            self.bare.clear(&self.claimed).await?;
            self.bare.shutdown(Duration::from_secs(5)).await
        })
    }
}

/// Every operation of idempotence. An operation that was given up never stays in progress.
#[must_use]
pub fn cases() -> Vec<Case<OnceGround>> {
    let mut all = store();
    all.extend(operations());
    all
}

fn store() -> Vec<Case<OnceGround>> {
    cases![
        "OnceStore::claim" => |g| g.claim().await?,
        "OnceStore::renew" => |g| g.store.renew(&g.claimed, OWNER, TTL).await?,
        "OnceStore::complete" => |g| {
            g.store.complete(&g.claimed, OWNER, Bytes::from_static(b"7"), TTL).await?
        },
        "OnceStore::release" => |g| {
            match g.store.release(&g.claimed, OWNER).await {
                Err(error) if error.kind() != ErrorKind::LeaseLost => return Err(error.into()),
                _ => {}
            }
        },
        "OnceStore::wait_for_change" => |g| g.store.wait_for_change(&g.full_key, MOMENT).await?,
        "OnceStore::clear" => |g| g.store.clear(&g.full_key).await?,
        "OnceStore::status" => |g| g.store.status(&g.full_key).await?,
    ]
}

fn operations() -> Vec<Case<OnceGround>> {
    cases![
        "Once::execute_bytes" => |g| {
            let work = Box::pin(async { sleep(MOMENT).await; Ok(Bytes::from_static(b"7")) });
            g.once.execute_bytes(&g.key, OnceOptions::new(TTL), work).await?
        },
        "Once::clear" => |g| Once::clear(&g.once, &g.key).await?,
        "Once::status" => |g| Once::status(&g.once, &g.key).await?,
        "OnceExt::execute" => |g| g.execute().await?,
        "OnceExt::execute (two at once)" => |g| g.execute_together().await?,
        "OnceExt::execute (the work fails)" => |g| g.fail().await?,
        "OnceExt::run" => |g| g.once.run(&g.key, TTL, async { sleep(MOMENT).await; Ok(()) }).await?,
    ]
}
