//! The cases of rate limits, over any store of buckets.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::rate_limit::{
    Check, Limiter, LimiterDependencies, Mode, Quota, RateLimitConfig, RateLimitStore, RateLimiter,
    RateLimiterExt, Rule, Take,
};
use infra_core::{Backend, Result};

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::conformance::{Failure, Subject};
use crate::unique;

/// A bucket of one token that is full again after 10 ms.
const RATE: f64 = 100.0;

/// A store, and a limiter on it.
#[derive(Debug)]
pub struct RateLimitGround {
    route: Route,
    bare: Arc<dyn RateLimitStore>,
    store: Arc<dyn RateLimitStore>,
    limiter: Arc<dyn RateLimiter>,
    config: RateLimitConfig,
    resource: String,
}

impl RateLimitGround {
    /// A bucket of its own in `bare`, which will be called over `route`.
    ///
    /// # Errors
    /// A rule that the limiter refuses.
    pub fn new(bare: Arc<dyn RateLimitStore>, route: Route) -> Result<Self, Failure> {
        let store = <dyn RateLimitStore as Subject>::behind(route.stack(), bare.clone());
        let rule = Rule::new(RATE, 1).with_mode(Mode::Distributed);
        let config = RateLimitConfig::development().with_rule("one", rule);
        let dependencies = LimiterDependencies::new().with_store(store.clone());
        let limiter: Arc<dyn RateLimiter> = Arc::new(Limiter::new(config.clone(), dependencies)?);
        Ok(Self {
            route,
            bare,
            store,
            limiter,
            config,
            resource: unique("cancel"),
        })
    }

    fn dependencies(&self) -> LimiterDependencies {
        LimiterDependencies::new().with_store(self.store.clone())
    }
}

impl Ground for RateLimitGround {
    /// Nothing: looking at a bucket takes from it. What is proved is that nothing is held and that it works afterwards.
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async { Ok(String::new()) })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move { self.bare.shutdown(Duration::from_secs(5)).await })
    }
}

/// Every operation of rate limits.
#[must_use]
pub fn cases() -> Vec<Case<RateLimitGround>> {
    cases![
        "RateLimitStore::take" => |g| {
            g.store.take(&[Take::new(&g.resource, Quota::new(RATE, 1)?, 1)]).await?
        },
        "RateLimiter::check_n" => |g| g.limiter.check_n(&g.resource, "one", 1).await?,
        "RateLimiter::check_all" => |g| g.limiter.check_all(&[Check::new(&g.resource, "one")]).await?,
        "RateLimiterExt::check" => |g| g.limiter.check(&g.resource, "one").await?,
        "RateLimiterExt::acquire" => |g| {
            let patience = Duration::from_secs(10);
            g.limiter.acquire(&g.resource, "one", patience).await?;
            g.limiter.acquire(&g.resource, "one", patience).await?
        },
        "Limiter::connect" => |g| Limiter::connect(g.config.clone(), g.dependencies()).await?,
        "Backend::health (of a limiter)" => |g| g.limiter.health().await?,
        "Backend::shutdown (of a limiter)" => |g| {
            Limiter::new(g.config.clone(), g.dependencies())?.shutdown(Duration::from_secs(1)).await?
        },
    ]
}
