//! Registry, configuration centre, locks and instance ids in one process.
//!
//! A [`Server`] holds the state; a [`MemoryCoordinator`] is one client of it. Several clients of one server behave as
//! several processes of a fleet do.

mod config;
mod faults;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::coordination::{LockGuard, LockOptions, Locks};
use infra_core::{Backend, Result, async_trait};

use crate::link::{Link, ServerSwitch};
use crate::locks::{LockClient, LockTable};

pub use config::CoordinatorConfig;
pub use faults::CoordinatorFaults;

/// Shorter leases than this cannot be kept alive with timers of one millisecond.
const SHORTEST_LEASE: Duration = Duration::from_millis(10);

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
    switch: ServerSwitch,
    locks: LockTable,
}

struct Client {
    server: Arc<Server>,
    link: Arc<Link>,
    locks: LockClient,
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
        Self::start(CoordinatorConfig::default())
    }

    /// A server of its own, and a client of it.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) names every value that cannot work.
    pub fn with_config(config: CoordinatorConfig) -> Result<Self> {
        config.validate()?;
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

    fn start(config: CoordinatorConfig) -> Self {
        let switch = ServerSwitch::default();
        Self::join(Arc::new(Server {
            locks: LockTable::new(config.max_locks),
            switch,
        }))
    }

    fn join(server: Arc<Server>) -> Self {
        let limits = Limits::DEFAULT.with_ttl(
            SHORTEST_LEASE,
            Limits::DEFAULT.max_ttl,
            Limits::DEFAULT.ttl_granularity,
        );
        let link = Arc::new(Link::new(server.switch.clone()));
        Self {
            client: Arc::new(Client {
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

#[async_trait]
impl Backend for MemoryCoordinator {
    fn backend(&self) -> &'static str {
        crate::BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.client.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.client
            .link
            .check("this coordinator")
            .map_err(|error| error.at("coordinator", crate::BACKEND, "health"))
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.client.link.close();
        self.client.locks.shutdown();
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
