//! The conformance suite as an ordinary user over TLS: families that use everything that needs a permission.

use std::sync::Arc;

use infra_core::Result;
use infra_core::cache::KeyValue;
use infra_core::coordination::Locks;
use infra_core::rate_limit::RateLimitStore;
use infra_redis::{RedisCache, RedisRateLimitStore};
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::ground;

async fn caches(setup: Setup) -> Result<Fixture<RedisCache>> {
    let (config, scoped) = (ground::user(&setup.namespace)?, ground::user(&setup.namespace)?);
    Ok(Fixture::server(move || {
        let config = config.clone();
        async move { RedisCache::connect(config).await.map(Arc::new) }
    })
    .on_scope(move |scopes| {
        let config = scoped.clone();
        async move {
            let cache = RedisCache::connect(config).await?;
            Ok(Arc::new(
                scopes.iter().fold(cache, |cache, scope| cache.scoped(scope)),
            ))
        }
    }))
}

async fn strings(setup: Setup) -> Result<Fixture<dyn KeyValue>> {
    Ok(caches(setup).await?.map(|client| client as Arc<dyn KeyValue>))
}

async fn locks(setup: Setup) -> Result<Fixture<dyn Locks>> {
    Ok(caches(setup).await?.map(|client| client as Arc<dyn Locks>))
}

async fn buckets(setup: Setup) -> Result<Fixture<dyn RateLimitStore>> {
    let config = ground::user(&setup.namespace)?;
    let stores = Fixture::server(move || {
        let config = config.clone();
        async move { RedisRateLimitStore::connect(config).await.map(Arc::new) }
    });
    Ok(stores.map(|client| client as Arc<dyn RateLimitStore>))
}

conformance::key_values!(strings);
conformance::locks!(locks);
conformance::rate_limits!(buckets);
