//! The cache: one client of Redis, for all contracts of a cache.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryFutureExt;
use infra_core::capability::{Capabilities, Limits};
use infra_core::{Backend, Error, Result, Ttl};
use redis::Cmd;

use crate::BACKEND;
use crate::bloom::Module;
use crate::client::{Client, Repeat};
use crate::coalesce::Coalescer;
use crate::config::RedisConfig;
use crate::reply;
use crate::two_tier::{Changing, TwoTier};

/// Strings, hashes, sets, sorted sets, bloom filters, batches, scripts and locks on Redis.
///
/// Clones and [scopes](Self::scoped) are one client with one connection, which carries the commands of all tasks and is made again
/// when it breaks.
///
/// # Errors
/// An operation ends within [`request_timeout`](RedisConfig::request_timeout). One that has the same effect when it is done twice is
/// repeated when its reply was lost; any other then fails with [`OutcomeUnknown`](infra_core::ErrorKind::OutcomeUnknown).
#[derive(Debug, Clone)]
pub struct RedisCache {
    pub(crate) client: Client,
    capabilities: Arc<Capabilities>,
    two_tier: Option<Arc<TwoTier>>,
    coalescer: Option<Arc<Coalescer>>,
    /// Of bloom filters.
    pub(crate) module: Arc<Module>,
}

impl RedisCache {
    /// Connects; one host that answers is enough.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that names every problem;
    /// [`Unauthenticated`](infra_core::ErrorKind::Unauthenticated); [`Unavailable`](infra_core::ErrorKind::Unavailable) or
    /// [`Timeout`](infra_core::ErrorKind::Timeout) when no host answers.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let connected = Client::connect(config).await;
        Ok(Self::of(connected.map_err(at("connect"))?))
    }

    pub(crate) fn of(client: Client) -> Self {
        let config = client.config();
        let two_tier = config.two_tier.as_ref();
        let two_tier = two_tier.map(|two_tier| Arc::new(TwoTier::start(two_tier, &client)));
        Self {
            capabilities: Arc::new(config.capabilities()),
            coalescer: config.coalesce_reads.then(Arc::default),
            two_tier,
            module: Arc::default(),
            client,
        }
    }

    /// A view of the same keyspace in which every key begins with this cache's prefix, then `scope` and a colon.
    ///
    /// Shutting a scope down shuts this client of the cache down.
    #[must_use]
    pub fn scoped(&self, scope: &str) -> Self {
        Self {
            client: self.client.with_keys(self.client.keys().scoped(scope)),
            ..self.clone()
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.capabilities.limits()
    }

    /// The key as the server knows it, once the cache is open and the key is acceptable.
    pub(crate) fn key(&self, key: &str) -> Result<String> {
        self.check_key(key)?;
        Ok(self.client.keys().key(key))
    }

    pub(crate) fn check_key(&self, key: &str) -> Result<()> {
        self.client.check_open()?;
        self.limits().check_key("key", key)
    }

    pub(crate) fn check_value(&self, value: &Bytes, ttl: Ttl) -> Result<()> {
        self.limits().check_value("value", value.len())?;
        ttl.check(self.limits())
    }

    /// What this process keeps of a key, if it may be served.
    pub(crate) fn near(&self, key: &str) -> Option<Option<Bytes>> {
        let tier = self.two_tier.as_ref()?;
        if self.client.is_closed() {
            return None;
        }
        tier.get(self.client.keys().prefix(), key)
    }

    /// The string under a key of the server.
    pub(crate) async fn string(&self, key: String) -> Result<Option<Bytes>> {
        if let Some(tier) = &self.two_tier
            && let Some(read) = tier.read(&key, &self.client).await
        {
            return read;
        }
        match &self.coalescer {
            Some(coalescer) => coalescer.get(&self.client, key).await,
            None => reply::value(self.ask(&command("GET", &key)).await?),
        }
    }

    /// Held while keys of the server are changed: what this process keeps of them is forgotten when it is dropped.
    pub(crate) fn changing<'k>(&'k self, key: &'k str) -> Option<Changing<'k>> {
        self.two_tier.as_ref().map(|tier| tier.changing(key))
    }

    /// A command that may be sent twice.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<redis::Value> {
        self.client.run(command, Repeat::Harmless).await
    }

    /// A command that may not.
    pub(crate) async fn ask_once(&self, command: &Cmd) -> Result<redis::Value> {
        self.client.run(command, Repeat::Never).await
    }
}

/// Says where an error happened.
pub(crate) fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("cache", BACKEND, operation)
}

/// Runs one operation, and says where its error happened.
pub(crate) fn run<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    work.map_err(at(operation))
}

/// A command on one key.
pub(crate) fn command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

/// What the contract may get after this backend was written is refused, not guessed.
pub(crate) fn unknown_variant() -> Error {
    Error::unsupported("this variant of the argument")
}

#[async_trait]
impl Backend for RedisCache {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        run("health", self.client.ping()).await
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.client.close();
        Ok(())
    }
}
