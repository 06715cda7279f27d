//! LIMIT and LIMITER: buckets on one server, in both formats, and on a cluster, and limiters over them.

use std::sync::Arc;

use infra_core::Result;
use infra_core::config::Compat;
use infra_core::rate_limit::RateLimitStore;
use infra_redis::{RedisConfig, RedisRateLimitStore};
use infra_testkit::conformance::limiters::{CoreLimiters, MakesLimiters};
use infra_testkit::conformance::{Fixture, Setup};

use crate::ground::Ground;

async fn stores(
    setup: Setup,
    server: &'static str,
    change: fn(RedisConfig) -> RedisConfig,
) -> Result<Fixture<dyn RateLimitStore>> {
    let ground = Ground::prepare(&setup, server).await?;
    let connecting = ground.clone();
    let stores = Fixture::server(move || {
        let config = connecting.client();
        async move { Ok(Arc::new(RedisRateLimitStore::connect(change(config?)).await?)) }
    })
    .on_disturbance(move |disturbance| {
        let ground = ground.clone();
        async move { ground.disturb(disturbance).await }
    });
    Ok(stores.map(|store| store as Arc<dyn RateLimitStore>))
}

fn over(stores: Fixture<dyn RateLimitStore>) -> Fixture<dyn MakesLimiters> {
    stores.map(|store| Arc::new(CoreLimiters::new(store)) as Arc<dyn MakesLimiters>)
}

mod single {
    use super::*;

    async fn make_stores(setup: Setup) -> Result<Fixture<dyn RateLimitStore>> {
        stores(setup, "redis", |config| config).await
    }

    async fn make_limiters(setup: Setup) -> Result<Fixture<dyn MakesLimiters>> {
        make_stores(setup).await.map(over)
    }

    infra_testkit::conformance::rate_limits!(make_stores, bare_and_standard_stack);
    infra_testkit::conformance::limiters!(make_limiters, bare_and_standard_stack);
}

/// The keys have no prefix; the names of the scenarios' buckets keep runs apart.
mod gochat {
    use super::*;

    async fn make_stores(setup: Setup) -> Result<Fixture<dyn RateLimitStore>> {
        stores(setup, "redis", |config| config.with_compat(Compat::GoChat)).await
    }

    infra_testkit::conformance::rate_limits!(make_stores);
}

mod cluster {
    use super::*;

    async fn make_stores(setup: Setup) -> Result<Fixture<dyn RateLimitStore>> {
        stores(setup, "redis-cluster", |config| config).await
    }

    async fn make_limiters(setup: Setup) -> Result<Fixture<dyn MakesLimiters>> {
        make_stores(setup).await.map(over)
    }

    infra_testkit::conformance::rate_limits!(make_stores);
    infra_testkit::conformance::limiters!(make_limiters);
}
