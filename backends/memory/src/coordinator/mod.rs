//! Registry, configuration centre, locks and instance ids in one process.
//!
//! A [`Server`] holds the state; a [`MemoryCoordinator`] is one client of it. Several clients of one server behave as
//! several processes of a fleet do.

mod config;
mod config_center;
mod faults;
mod feed;
mod instance_ids;
mod registrations;
mod registry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::Validate;
use infra_core::coordination::{
    LastKnown, LockGuard, LockOptions, Locks, Registrations as KeptRegistrations,
};
use infra_core::{Backend, Result, async_trait};

use crate::link::{Link, ServerSwitch};
use crate::locks::{LockClient, LockTable};
use config_center::ConfigStore;
use feed::FeedLimits;
use instance_ids::Numbers;
use registrations::Registrations;
use registry::Reaper;

pub use config::MemoryCoordinatorConfig;
pub use faults::CoordinatorFaults;

/// Shorter leases than this cannot be kept alive with timers of one millisecond.
const SHORTEST_LEASE: Duration = Duration::from_millis(10);

/// The most writes of one transaction of the configuration centre: as many as etcd takes.
const MAX_WRITES: usize = 128;

/// Registry, configuration centre, locks, elections and instance ids in one process.
///
/// Cloning gives another handle on the same client. [`MemoryCoordinator::connect`] gives another *client* of the same
/// server, so that several instances of a service can be tested in one process.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use infra_core::coordination::{LockOptions, Locks};
/// use infra_memory::MemoryCoordinator;
///
/// let first = MemoryCoordinator::new();
/// let second = first.connect();
/// let guard = first.acquire("daily-report", LockOptions::new(Duration::from_secs(30))).await?;
/// assert!(second.try_acquire("daily-report", Duration::from_secs(30)).await?.is_none());
/// guard.release().await?;
/// assert!(second.try_acquire("daily-report", Duration::from_secs(30)).await?.is_some());
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryCoordinator {
    client: Arc<Client>,
}

/// What all clients share.
#[derive(Debug)]
struct Server {
    config: MemoryCoordinatorConfig,
    switch: ServerSwitch,
    last_client: AtomicU64,
    locks: LockTable,
    configuration: Mutex<ConfigStore>,
    registrations: Mutex<Registrations>,
    reaper: Reaper,
    numbers: Mutex<Numbers>,
}

struct Client {
    id: u64,
    server: Arc<Server>,
    link: Arc<Link>,
    locks: LockClient,
    /// What [`discover`](infra_core::coordination::Registry::discover) answers while the server is away.
    last_known: LastKnown,
    kept: KeptRegistrations,
    capabilities: Capabilities,
}

impl fmt::Debug for MemoryCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCoordinator")
            .field("server", &self.client.server)
            .finish_non_exhaustive()
    }
}

impl Default for MemoryCoordinator {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryCoordinator {
    /// A server of its own with the default configuration, and a client of it.
    #[must_use]
    pub fn new() -> Self {
        Self::start(MemoryCoordinatorConfig::default())
    }

    /// A server of its own, and a client of it.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) names every value that cannot work.
    pub fn with_config(config: MemoryCoordinatorConfig) -> Result<Self> {
        config
            .check()
            .map_err(|error| error.at("coordinator", crate::BACKEND, "with_config"))?;
        Ok(Self::start(config))
    }

    /// Another client of the same server, with a connection of its own: what another process would have.
    #[must_use]
    pub fn connect(&self) -> Self {
        Self::join(Arc::clone(&self.client.server))
    }

    /// The locks of the server, for tests that let the server lose or reassign one.
    #[must_use]
    pub fn lock_table(&self) -> &LockTable {
        self.client.locks.table()
    }

    fn start(config: MemoryCoordinatorConfig) -> Self {
        let limits = FeedLimits {
            history: config.history,
            watches: config.max_watches,
            buffer: config.watch_buffer,
        };
        Self::join(Arc::new(Server {
            switch: ServerSwitch::default(),
            last_client: AtomicU64::new(0),
            locks: LockTable::new(config.max_locks),
            configuration: Mutex::new(ConfigStore::new(&config, limits)),
            registrations: Mutex::new(Registrations::new(config.max_entries, limits)),
            reaper: Reaper::default(),
            numbers: Mutex::new(Numbers::new(&config)),
            config,
        }))
    }

    fn join(server: Arc<Server>) -> Self {
        let limits = Limits::DEFAULT
            .with_ttl(
                SHORTEST_LEASE,
                Limits::DEFAULT.max_ttl,
                Limits::DEFAULT.ttl_granularity,
            )
            .with_max_transaction_writes(MAX_WRITES);
        let link = Arc::new(Link::new(server.switch.clone()));
        Self {
            client: Arc::new(Client {
                id: server.last_client.fetch_add(1, Ordering::Relaxed),
                last_known: LastKnown::default(),
                kept: KeptRegistrations::default(),
                locks: server.locks.client(Arc::clone(&link), limits),
                link,
                server,
                capabilities: Capabilities::new(limits)
                    .with(Capability::Fencing)
                    .with(Capability::Linearizable)
                    .with(Capability::FairLocks)
                    .with(Capability::WatchFromRevision)
                    .with(Capability::ConfigTransactions),
            }),
        }
    }
}

impl MemoryCoordinator {
    fn limits(&self) -> &Limits {
        self.client.capabilities.limits()
    }

    /// Refuses a call after shutdown, or when the server is away.
    fn reach(&self) -> Result<()> {
        self.client.link.check("this coordinator")
    }
}

/// Locks a mutex whose data are whole after every statement, so that a panic elsewhere does not spoil them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Backend for MemoryCoordinator {
    fn backend(&self) -> &'static str {
        crate::BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.client.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.reach()
            .map_err(|error| error.at("coordinator", crate::BACKEND, "health"))
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        let client = &self.client;
        if client.link.close() {
            client.locks.shutdown();
            locked(&client.server.numbers).remove_client(client.id);
            let mut registrations = locked(&client.server.registrations);
            registrations.remove_clients(|owner| owner == client.id);
            registrations.feed.close(client.id);
            drop(registrations);
            locked(&client.server.configuration).feed.close(client.id);
        }
        Ok(())
    }
}

#[async_trait]
impl Locks for MemoryCoordinator {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        self.client.locks.acquire(key, options).await
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        self.client.locks.try_acquire(key, ttl)
    }
}
