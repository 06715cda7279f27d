//! Clients of a real Redis, each behind proxies of its own, in a place of their own.

use std::sync::Arc;

use infra_core::assembly::BackendOptions;
use infra_core::cache::KeyValue;
use infra_core::config::{BackendUrl, Compat, Host};
use infra_core::once::OnceStore;
use infra_core::{Error, ErrorKind, Result};
use infra_redis::redis::aio::ConnectionLike;
use infra_redis::redis::{self, Client, Cmd, Value};
use infra_redis::{RedisCache, RedisConfig, RedisOnceStore, TwoTierConfig};
use infra_testkit::conformance::{Disturbance, Fixture, Proxies, Setup};
use infra_testkit::servers;

/// The options with which a scenario's clients connect.
pub(crate) fn config(setup: &Setup, server: &'static str) -> Result<RedisConfig> {
    let mut config = RedisConfig::development();
    config.take_url(&BackendUrl::parse(&servers::url(server)?)?)?;
    Ok(config.with_key_prefix(format!("{}:", setup.namespace)))
}

/// A server, the proxies before each of its nodes, and a way around them.
#[derive(Clone)]
pub(crate) struct Ground {
    config: RedisConfig,
    nodes: Vec<(Host, Proxies)>,
    native: Native,
}

impl Ground {
    pub(crate) async fn prepare(setup: &Setup, server: &'static str) -> Result<Self> {
        let config = config(setup, server)?;
        let nodes = config.hosts.iter().map(|host| (host.clone(), Proxies::to(host)));
        Ok(Self {
            nodes: nodes.collect(),
            native: Native::connect(&config).await?,
            config,
        })
    }

    /// The configuration of one more client, which has proxies of its own.
    pub(crate) fn client(&self) -> Result<RedisConfig> {
        let mut addresses = Vec::new();
        for (node, proxies) in &self.nodes {
            let address = proxies.connect()?;
            addresses.push((
                node.clone(),
                Host::new(address.ip().to_string(), Some(address.port())),
            ));
        }
        let reachable = addresses.iter().map(|(_, proxy)| proxy.clone());
        let config = self
            .config
            .clone()
            .with_hosts(reachable, self.config.topology.clone());
        Ok(config.with_node_addresses(addresses))
    }

    pub(crate) async fn disturb(&self, disturbance: Disturbance) -> Result<bool> {
        let mut done = false;
        for (_, proxies) in &self.nodes {
            done = proxies.disturb(&disturbance)?;
        }
        Ok(done || self.native.disturb(disturbance).await?)
    }
}

/// The driver itself, connected directly: what another program does to the keys.
#[derive(Clone)]
pub(crate) struct Native {
    connections: Connections,
    pub(crate) prefix: String,
    pub(crate) compat: Compat,
}

#[derive(Clone)]
enum Connections {
    Single(redis::aio::MultiplexedConnection),
    Cluster(redis::cluster_async::ClusterConnection),
}

fn failed(source: redis::RedisError) -> Error {
    Error::new(ErrorKind::Internal, "the driver itself failed").with_source(source)
}

impl Native {
    async fn connect(config: &RedisConfig) -> Result<Self> {
        let urls: Vec<String> = config
            .hosts
            .iter()
            .map(|host| format!("redis://{host}"))
            .collect();
        let connections = if let [only] = urls.as_slice() {
            let client = Client::open(only.as_str()).map_err(failed)?;
            Connections::Single(client.get_multiplexed_async_connection().await.map_err(failed)?)
        } else {
            let client = redis::cluster::ClusterClient::new(urls).map_err(failed)?;
            Connections::Cluster(client.get_async_connection().await.map_err(failed)?)
        };
        Ok(Self {
            connections,
            prefix: config.key_prefix.clone(),
            compat: config.compat,
        })
    }

    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value> {
        let reply = match self.connections.clone() {
            Connections::Single(mut connection) => connection.req_packed_command(command).await,
            Connections::Cluster(mut connection) => connection.req_packed_command(command).await,
        };
        reply.and_then(Value::extract_error).map_err(failed)
    }

    async fn disturb(&self, disturbance: Disturbance) -> Result<bool> {
        match disturbance {
            Disturbance::StoreText { key } => {
                let mut set = redis::cmd("SET");
                set.arg(format!("{}{key}", self.prefix)).arg("text");
                self.run(&set).await?;
            }
            other => return crate::locks::disturb(self, other).await,
        }
        Ok(true)
    }
}

/// A cache on this server of the set.
pub(crate) async fn cache(setup: Setup, server: &'static str) -> Result<Fixture<RedisCache>> {
    cache_with(setup, server, |config| config).await
}

/// The same with another configuration.
async fn cache_with(
    setup: Setup,
    server: &'static str,
    change: fn(RedisConfig) -> RedisConfig,
) -> Result<Fixture<RedisCache>> {
    let mut ground = Ground::prepare(&setup, server).await?;
    ground.config = change(ground.config);
    ground.native.compat = ground.config.compat;
    let (connecting, scoping) = (ground.clone(), ground.clone());
    let connect = |config: Result<RedisConfig>| async { RedisCache::connect(config?).await };
    Ok(Fixture::server(move || {
        let connected = connect(connecting.client());
        async { connected.await.map(Arc::new) }
    })
    .on_scope(move |scopes| {
        let connected = connect(scoping.client());
        async move {
            let cache = connected.await?;
            Ok(Arc::new(
                scopes.iter().fold(cache, |cache, scope| cache.scoped(scope)),
            ))
        }
    })
    .on_disturbance(move |disturbance| {
        let ground = ground.clone();
        async move { ground.disturb(disturbance).await }
    }))
}

/// A store of idempotent operations on this server of the set.
pub(crate) async fn once_store(setup: Setup, server: &'static str) -> Result<Fixture<dyn OnceStore>> {
    let ground = Ground::prepare(&setup, server).await?;
    let connecting = ground.clone();
    let fixture = Fixture::server(move || {
        let config = connecting.client();
        async { RedisOnceStore::connect(config?).await.map(Arc::new) }
    });
    let fixture = fixture.on_disturbance(move |disturbance| {
        let ground = ground.clone();
        async move { ground.disturb(disturbance).await }
    });
    Ok(fixture.map(|client| client as Arc<dyn OnceStore>))
}

/// The constructors for one server of the set.
macro_rules! constructors {
    ($name:ident, $server:literal) => {
        pub(crate) mod $name {
            use std::sync::Arc;

            use infra_core::Result;
            use infra_core::cache::{Bloom, Hashes, KeyValue, Scripts, Sets, SortedSets};
            use infra_core::config::Compat;
            use infra_core::coordination::Locks;
            use infra_core::once::OnceStore;
            use infra_redis::RedisConfig;
            use infra_testkit::conformance::loading::{CoreLoaders, MakesLoaders};
            use infra_testkit::conformance::{Fixture, Setup};

            pub(crate) async fn bloom(setup: Setup) -> Result<Fixture<dyn Bloom>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| client as Arc<dyn Bloom>))
            }

            pub(crate) async fn loaders(setup: Setup) -> Result<Fixture<dyn MakesLoaders>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| Arc::new(CoreLoaders::new(client)) as Arc<dyn MakesLoaders>))
            }

            pub(crate) async fn key_values(setup: Setup) -> Result<Fixture<dyn KeyValue>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| client as Arc<dyn KeyValue>))
            }

            pub(crate) async fn hashes(setup: Setup) -> Result<Fixture<dyn Hashes>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| client as Arc<dyn Hashes>))
            }

            pub(crate) async fn scripts(setup: Setup) -> Result<Fixture<dyn Scripts>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| client as Arc<dyn Scripts>))
            }

            pub(crate) async fn locks(setup: Setup) -> Result<Fixture<dyn Locks>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| client as Arc<dyn Locks>))
            }

            pub(crate) async fn gochats_locks(setup: Setup) -> Result<Fixture<dyn Locks>> {
                let gochat = |config: RedisConfig| config.with_compat(Compat::GoChat);
                let cache = super::cache_with(setup, $server, gochat).await?;
                Ok(cache.map(|client| client as Arc<dyn Locks>))
            }

            pub(crate) async fn once(setup: Setup) -> Result<Fixture<dyn OnceStore>> {
                super::once_store(setup, $server).await
            }

            pub(crate) async fn sets(setup: Setup) -> Result<Fixture<dyn Sets>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| client as Arc<dyn Sets>))
            }

            pub(crate) async fn sorted_sets(setup: Setup) -> Result<Fixture<dyn SortedSets>> {
                let cache = super::cache(setup, $server).await?;
                Ok(cache.map(|client| client as Arc<dyn SortedSets>))
            }
        }
    };
}

constructors!(single, "redis");
constructors!(cluster, "redis-cluster");

/// Strings that are kept in the process too. That clients see one another's changes at once is not promised then; how soon they do
/// is proved in `tests/two_tier`.
pub(crate) async fn two_tier(setup: Setup) -> Result<Fixture<dyn KeyValue>> {
    if setup.scenario == "CACHE-039" {
        return single::key_values(setup).await;
    }
    two_tier_on(setup, "redis").await
}

/// The same on three masters.
pub(crate) async fn two_tier_on_the_cluster(setup: Setup) -> Result<Fixture<dyn KeyValue>> {
    if setup.scenario == "CACHE-039" {
        return cluster::key_values(setup).await;
    }
    two_tier_on(setup, "redis-cluster").await
}

async fn two_tier_on(setup: Setup, server: &'static str) -> Result<Fixture<dyn KeyValue>> {
    let near = |config: RedisConfig| config.with_two_tier(TwoTierConfig::new());
    let cache = cache_with(setup, server, near).await?;
    Ok(cache.map(|client| client as Arc<dyn KeyValue>))
}

/// Strings that are read together.
pub(crate) async fn coalesced(setup: Setup) -> Result<Fixture<dyn KeyValue>> {
    coalesced_on(setup, "redis").await
}

/// Strings that are read together, on three masters.
pub(crate) async fn coalesced_on_the_cluster(setup: Setup) -> Result<Fixture<dyn KeyValue>> {
    coalesced_on(setup, "redis-cluster").await
}

async fn coalesced_on(setup: Setup, server: &'static str) -> Result<Fixture<dyn KeyValue>> {
    let cache = cache_with(setup, server, |config| config.with_coalesced_reads(true)).await?;
    Ok(cache.map(|client| client as Arc<dyn KeyValue>))
}
