//! The scheme `redis`.

use std::sync::Arc;

use infra_core::assembly::{BackendOptions, Backends, OpenContext, factory};
use infra_core::cache::Cache;
use infra_core::config::{BackendUrl, Profile};
use infra_core::error::{Error, Result};
use infra_core::once::OnceStore;
use infra_core::rate_limit::RateLimitStore;

use crate::config::{RedisConfig, Topology};
use crate::connections::Connections;
use crate::{BACKEND, RedisCache, RedisOnceStore, RedisRateLimitStore};

/// Adds the scheme `redis://` for the cache, idempotency and rate limits.
///
/// Components whose sections name the same server in the same way share one connection.
pub fn register(backends: &mut Backends) {
    let connections = Arc::new(Connections::default());
    let shared = Arc::clone(&connections);
    backends.with_cache(
        BACKEND,
        factory(move |config: RedisConfig, _: OpenContext| {
            let connections = Arc::clone(&shared);
            async move {
                let client = connections.client(config).await;
                let client = client.map_err(|error| error.at("cache", BACKEND, "connect"))?;
                Ok(Arc::new(RedisCache::of(client)) as Arc<dyn Cache>)
            }
        }),
    );
    let shared = Arc::clone(&connections);
    backends.with_once_store(
        BACKEND,
        factory(move |config: RedisConfig, _: OpenContext| {
            let connections = Arc::clone(&shared);
            async move {
                let client = connections.client(config).await;
                let client = client.map_err(|error| error.at("once_store", BACKEND, "connect"))?;
                Ok(Arc::new(RedisOnceStore::of(client)) as Arc<dyn OnceStore>)
            }
        }),
    );
    backends.with_rate_limit_store(
        BACKEND,
        factory(move |config: RedisConfig, _: OpenContext| {
            let connections = Arc::clone(&connections);
            async move {
                let client = connections.client(config).await;
                let client = client.map_err(|error| error.at("rate_limit_store", BACKEND, "connect"))?;
                Ok(Arc::new(RedisRateLimitStore::of(client)) as Arc<dyn RateLimitStore>)
            }
        }),
    );
}

impl BackendOptions for RedisConfig {
    fn of(profile: Profile) -> Self {
        match profile {
            Profile::Production => Self::production(),
            _ => Self::development(),
        }
    }

    fn take_url(&mut self, url: &BackendUrl) -> Result<()> {
        url.check_params(&["cluster", "sentinel"])?;
        let master: Option<String> = url.param("sentinel")?;
        let cluster: Option<bool> = url.param("cluster")?;
        self.topology = match (cluster, master) {
            (Some(true), Some(_)) => {
                return Err(Error::invalid_config(
                    "a redis:// URL names either a cluster or sentinels; leave `cluster` or `sentinel` out",
                ));
            }
            (_, Some(master)) => Topology::Sentinel { master },
            (Some(cluster), None) if cluster => Topology::Cluster,
            (None, None) if url.hosts().len() > 1 => Topology::Cluster,
            _ => Topology::Single,
        };
        self.database = match url.path() {
            None | Some("") => 0,
            Some(number) => number.parse().ok().filter(|number| *number >= 0).ok_or_else(|| {
                Error::invalid_config(
                    "the path of a redis:// URL is the number of a database, as in redis://host/0",
                )
            })?,
        };
        if url.user().is_some() && url.password().is_none() {
            return Err(Error::invalid_config(
                "the redis:// URL names a user without a password; give both, or the password alone as in redis://:password@host",
            ));
        }
        if !url.hosts().is_empty() {
            self.hosts = url.hosts().to_vec();
        }
        self.user = url.user().map(str::to_owned);
        self.password = url.password().cloned();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use infra_core::config::Validate;

    use super::*;

    fn taken(url: &str) -> Result<RedisConfig> {
        let mut config = RedisConfig::development();
        config.take_url(&BackendUrl::parse(url)?)?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn a_url_says_how_the_hosts_belong_together() {
        let sentinel = Topology::Sentinel {
            master: "mymaster".to_owned(),
        };
        for (url, topology, database) in [
            ("redis://cache", Topology::Single, 0),
            ("redis://cache:6380/3", Topology::Single, 3),
            ("redis://one,two,three", Topology::Cluster, 0),
            ("redis://one?cluster=true", Topology::Cluster, 0),
            ("redis://one,two/1?sentinel=mymaster", sentinel, 1),
        ] {
            let config = taken(url).expect(url);
            assert_eq!((config.topology, config.database), (topology, database), "{url}");
        }
        let config = taken("redis://:secret@cache").expect("a password alone");
        assert_eq!(
            (
                config.user,
                config.password.map(|password| password.expose().clone())
            ),
            (None, Some("secret".to_owned()))
        );
    }

    #[test]
    fn a_url_that_means_nothing_is_refused() {
        for url in [
            "redis://cache/first",
            "redis://cache/-1",
            "redis://one,two/1",
            "redis://one,two?cluster=false",
            "redis://one?cluster=true&sentinel=mymaster",
            "redis://someone@cache",
            "redis://cache?db=1",
        ] {
            assert!(taken(url).is_err(), "{url}");
        }
    }
}
