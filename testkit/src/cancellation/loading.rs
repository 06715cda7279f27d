//! The cases of reading through a cache, over any cache.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::Result;
use infra_core::cache::{Cache, CacheLoader, KeyValue, LoadOptions};
use infra_core::coordination::Locks;
use tokio::time::sleep;

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome, Subject};
use crate::unique;

/// How long a load takes.
const MOMENT: Duration = Duration::from_millis(20);

/// A cache without the value, and loaders of it.
#[derive(Debug)]
pub struct LoadingGround {
    route: Route,
    bare: Arc<dyn Cache>,
    loader: CacheLoader,
    cluster: CacheLoader,
    key: String,
    /// A key whose value is cached from the beginning.
    cached: String,
}

impl LoadingGround {
    /// Keys of its own in `bare`, which will be called over `route`.
    ///
    /// # Errors
    /// The backend's, also for options that do not go with it.
    pub async fn new(bare: Arc<dyn Cache>, route: Route) -> Result<Self, Failure> {
        let cache = <dyn Cache as Subject>::behind(route.stack(), bare.clone());
        let (values, locks): (Arc<dyn KeyValue>, Arc<dyn Locks>) = (cache.clone(), cache);
        let options = || LoadOptions::new(Duration::from_secs(3600));
        let cached = unique("cached");
        let filling = CacheLoader::new(bare.clone(), options())?;
        filling.get_or_load(&cached, || async { Ok(Some(7)) }).await?;
        Ok(Self {
            loader: CacheLoader::new(values.clone(), options())?,
            cluster: CacheLoader::new(values, options())?.with_cluster_locks(locks),
            route,
            bare,
            key: unique("cancel"),
            cached,
        })
    }

    async fn load(&self, loader: &CacheLoader) -> Outcome {
        let load = || async {
            sleep(MOMENT).await;
            Ok(Some(7))
        };
        let value = loader.get_or_load(&self.key, load).await?;
        check!(value == Some(7), "{value:?} was loaded");
        Ok(())
    }

    /// Two callers, who share one load.
    async fn load_together(&self) -> Outcome {
        let (first, second) = tokio::join!(self.load(&self.loader), self.load(&self.loader));
        first?;
        second
    }

    async fn fail(&self) -> Outcome {
        let load = || async {
            sleep(MOMENT).await;
            Err(infra_core::Error::invalid_argument("the load fails"))
        };
        let failed = self.loader.get_or_load::<u32, _, _>(&self.key, load).await;
        check!(failed.is_err(), "{failed:?} although the load fails");
        Ok(())
    }
}

impl Ground for LoadingGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async move {
            let loaded = self.bare.exists(&self.key).await?;
            let cached = self.bare.exists(&self.cached).await?;
            Ok(format!("loaded: {loaded}, still cached: {cached}"))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move {
            self.bare.delete(&[&self.key, &self.cached]).await?;
            self.bare.shutdown(Duration::from_secs(5)).await
        })
    }
}

/// Every operation of a loader. A load that was begun goes on without its caller and ends by itself.
#[must_use]
pub fn cases() -> Vec<Case<LoadingGround>> {
    cases![
        "CacheLoader::get_or_load" => |g| g.load(&g.loader).await?,
        "CacheLoader::get_or_load (two at once)" => |g| g.load_together().await?,
        "CacheLoader::get_or_load (the load fails)" => |g| g.fail().await?,
        "CacheLoader::get_or_load (once in the cluster)" => |g| g.load(&g.cluster).await?,
        "CacheLoader::invalidate" => |g| g.loader.invalidate(&g.cached).await?,
    ]
}
