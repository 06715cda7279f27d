//! The cache in one process: strings, hashes, sets, sorted sets, bloom filters, batches and locks over one keyspace.
//!
//! Touches memory and tokio's clock, nothing else.

mod batch;
mod bloom;
mod config;
mod due;
mod faults;
mod hashes;
mod keys;
mod locks;
mod sets;
mod sorted_set;
mod sorted_sets;
mod store;
mod strings;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::Validate;
use infra_core::{Backend, Error, Result};

pub use config::MemoryCacheConfig;
pub use faults::CacheFaults;
use store::Store;

use crate::BACKEND;
use crate::link::Link;
use crate::locks::{LockClient, LockTable};

/// Runs one operation, and says where its error happened.
#[inline]
fn run<T>(operation: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    work().map_err(|error| error.at("cache", BACKEND, operation))
}

/// A cache in this process, for every cache contract and for locks.
///
/// Clones and [scopes](Self::scoped) share one keyspace. What is stored is lost with the process.
///
/// # Memory
/// Keys and bytes are bounded by [`MemoryCacheConfig`]. When either bound is reached, the keys that were not used for
/// the longest time are evicted **whole**, whatever they hold: a string, or a hash or sorted set with all its members,
/// never a part of one. What must not be forgotten belongs into a database or a durable cache. A single key that could
/// never fit is refused with [`ResourceExhausted`](infra_core::ErrorKind::ResourceExhausted).
///
/// # Expiry
/// An expired key is never returned, from the very instant of its deadline on tokio's clock (tests may pause it). Its
/// memory is reclaimed a little later, in small steps beside other writes; there is no sweep and no background task.
///
/// # Consistency
/// Every operation on one key is atomic, and every [batch](infra_core::cache::Scripts::atomically) over any keys: no
/// reader sees a part of one. Operations that take several keys otherwise (`get_many`, `set_many`, `delete`,
/// `delete_prefix`, `scan`) are atomic key by key.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use infra_core::Ttl;
/// use infra_core::cache::{Cache, KeyValue};
/// use infra_memory::{MemoryCache, MemoryCacheConfig};
///
/// let config = MemoryCacheConfig::development().with_key_prefix("im:");
/// let cache: Arc<dyn Cache> = Arc::new(MemoryCache::with_config(config)?);
/// cache.set("greeting", "hello".into(), Ttl::secs(60)).await?;
///
/// let strings: Arc<dyn KeyValue> = cache;
/// assert_eq!(strings.get("greeting").await?, Some("hello".into()));
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MemoryCache {
    store: Arc<Store>,
    locks: LockClient,
    prefix: Arc<str>,
    capabilities: Arc<Capabilities>,
    /// Whether this client was shut down; its clones and scopes share it.
    closed: Arc<AtomicBool>,
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryCache {
    /// A cache with the [default configuration](MemoryCacheConfig::default).
    #[must_use]
    pub fn new() -> Self {
        Self::build(&MemoryCacheConfig::default())
    }

    /// A cache with this configuration.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that names every problem.
    pub fn with_config(config: MemoryCacheConfig) -> Result<Self> {
        config.check()?;
        Ok(Self::build(&config))
    }

    fn build(config: &MemoryCacheConfig) -> Self {
        let limits = config.limits();
        let prefix: Arc<str> = Arc::from(config.key_prefix.as_str());
        let capabilities = Capabilities::new(limits)
            .with(Capability::AtomicAcrossKeys)
            .with(Capability::Fencing)
            .with(Capability::FairLocks);
        Self {
            store: Arc::new(Store::new(config)),
            locks: LockTable::new(config.max_locks)
                .client(Arc::new(Link::default()), limits)
                .with_prefix(Arc::clone(&prefix)),
            prefix,
            capabilities: Arc::new(capabilities),
            closed: Arc::default(),
        }
    }

    /// Another client of the same cache, as another process would have: the same keys and locks, a shutdown of its own.
    ///
    /// What is stored stays until the last client was shut down.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use infra_core::Ttl;
    /// use infra_core::cache::KeyValue;
    /// use infra_core::Backend;
    ///
    /// let first = infra_memory::MemoryCache::new();
    /// let second = first.connect();
    /// first.set("greeting", "hello".into(), Ttl::Never).await?;
    /// first.shutdown(Duration::from_secs(1)).await?;
    /// assert_eq!(second.get("greeting").await?, Some("hello".into()));
    /// # Ok::<(), infra_core::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn connect(&self) -> Self {
        self.store.join();
        Self {
            store: Arc::clone(&self.store),
            locks: self.locks.connect(),
            prefix: Arc::clone(&self.prefix),
            capabilities: Arc::clone(&self.capabilities),
            closed: Arc::default(),
        }
    }

    /// The locks of the cache, for tests that let it lose or reassign one. Names begin with the cache's prefix.
    #[must_use]
    pub fn lock_table(&self) -> &LockTable {
        self.locks.table()
    }

    /// What tests can break of the connection between this client and the cache.
    #[must_use]
    pub fn faults(&self) -> CacheFaults<'_> {
        CacheFaults::of(self.locks.link())
    }

    /// A view of the same keyspace in which every key begins with this cache's prefix, then `scope` and a colon.
    ///
    /// Shutting a scope down shuts this client of the cache down.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use infra_core::Ttl;
    /// use infra_core::cache::{KeyValue, Keys};
    ///
    /// let cache = infra_memory::MemoryCache::new();
    /// let (users, rooms) = (cache.scoped("users"), cache.scoped("rooms"));
    /// users.set("1", "Ann".into(), Ttl::Never).await?;
    /// assert!(!rooms.exists("1").await?);
    /// assert!(cache.exists("users:1").await?);
    /// # Ok::<(), infra_core::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn scoped(&self, scope: &str) -> Self {
        let prefix: Arc<str> = Arc::from(format!("{}{scope}:", self.prefix));
        Self {
            store: Arc::clone(&self.store),
            locks: self.locks.with_prefix(Arc::clone(&prefix)),
            prefix,
            capabilities: Arc::clone(&self.capabilities),
            closed: Arc::clone(&self.closed),
        }
    }

    /// How much is stored now, by this cache and its scopes; for metrics and tests, it does pending work first.
    #[must_use]
    pub fn usage(&self) -> MemoryCacheUsage {
        let (entries, bytes) = self.store.usage();
        MemoryCacheUsage { entries, bytes }
    }

    fn limits(&self) -> &Limits {
        self.capabilities.limits()
    }

    #[inline]
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::closed("the in-process cache"));
        }
        Ok(())
    }

    /// The key as the keyspace knows it, once the cache is open and the key is acceptable. Borrowed without a prefix.
    #[inline]
    fn key<'k>(&self, key: &'k str) -> Result<Cow<'k, str>> {
        self.check_open()?;
        self.limits().check_key("key", key)?;
        Ok(self.prefixed(key))
    }

    /// Refuses a closed cache, and keys that it does not accept.
    fn check_keys(&self, keys: &[&str]) -> Result<()> {
        self.check_open()?;
        keys.iter()
            .try_for_each(|key| self.limits().check_key("key", key))
    }

    /// What is stored, if it can be reached. Arguments are checked before.
    #[inline]
    fn reached(&self) -> Result<&Store> {
        self.locks.link().reach()?;
        Ok(&self.store)
    }

    #[inline]
    fn prefixed<'k>(&self, key: &'k str) -> Cow<'k, str> {
        if self.prefix.is_empty() {
            return Cow::Borrowed(key);
        }
        Cow::Owned([&self.prefix, key].concat())
    }
}

/// How much a [`MemoryCache`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryCacheUsage {
    /// Keys, those included that expired and are not reclaimed yet.
    pub entries: u64,
    /// Bytes as the bound counts them: a key counts for `max_bytes / max_entries` at least.
    pub bytes: u64,
}

#[async_trait]
impl Backend for MemoryCache {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        run("health", || {
            self.check_open()?;
            self.reached().map(drop)
        })
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.locks.shutdown();
            self.store.leave();
        }
        Ok(())
    }
}
