//! The coordinator: one client of a cluster, for all contracts of coordination.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use infra_core::capability::{Capabilities, Limits};
use infra_core::coordination::{LastKnown, Registrations};
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lease::{LeaseKeeper, LeasePool};
use infra_core::{Backend, async_trait};

use crate::BACKEND;
use crate::client::Client;
use crate::config::EtcdConfig;
use crate::instance_ids::Keeper;
use crate::leases::Grantor;

/// Registry, configuration centre, locks and instance ids on an etcd cluster.
///
/// Clones are one client.
#[derive(Debug, Clone)]
pub struct EtcdCoordinator {
    pub(crate) client: Client,
    /// What locks and registrations stand on.
    pub(crate) leases: LeasePool<Grantor>,
    /// How many locks were asked for, to tell the attempts apart.
    pub(crate) attempts: Arc<AtomicU64>,
    pub(crate) registrations: Registrations,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) last_known: Arc<LastKnown>,
    capabilities: Arc<Capabilities>,
}

impl EtcdCoordinator {
    /// Connects to a cluster; one endpoint that answers is enough.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) that names every problem; [`Unauthenticated`](ErrorKind::Unauthenticated);
    /// [`Unavailable`](ErrorKind::Unavailable) or [`Timeout`](ErrorKind::Timeout) when no endpoint answers.
    pub async fn connect(config: EtcdConfig) -> Result<Self> {
        let client = Client::connect(config).await?;
        Ok(Self {
            leases: LeasePool::new(Grantor(client.clone())),
            client,
            attempts: Arc::default(),
            registrations: Registrations::default(),
            numbers: Arc::default(),
            last_known: Arc::default(),
            capabilities: Arc::new(EtcdConfig::capabilities()),
        })
    }

    /// etcd's own client, connected as this one is, for what the contracts do not have. It does not know the `key_prefix`.
    #[must_use]
    pub fn client(&self) -> etcd_client::Client {
        self.client.native()
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.capabilities.limits()
    }
}

#[async_trait]
impl Backend for EtcdCoordinator {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        let health = async {
            self.client.check_open()?;
            self.client.ask().await
        };
        health
            .await
            .map_err(|error| error.at("coordination", BACKEND, "health"))
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if !self.client.close() {
            return Ok(());
        }
        let end = async {
            let (numbers, registrations) = tokio::join!(self.numbers.end(), self.registrations.end());
            // With the shared leases go the locks, and whatever could not be removed one by one.
            numbers.and(registrations).and(self.leases.end().await)
        };
        let ended = tokio::time::timeout(deadline, end).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Timeout,
                format!("leases were not given back within {deadline:?}; they end by their time to live"),
            ))
        });
        ended.map_err(|error| error.at("coordination", BACKEND, "shutdown"))
    }
}

/// The instance ids that this client holds, to be given back at its shutdown. It keeps none of them alive.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    held: Mutex<Vec<Weak<Keeper>>>,
}

impl Numbers {
    pub(crate) fn note(&self, keeper: &Arc<Keeper>) {
        let mut held = self.locked();
        if held.len() == held.capacity() {
            held.retain(|weak| weak.strong_count() > 0);
        }
        held.push(Arc::downgrade(keeper));
    }

    /// Gives all of them back; one that cannot be ends by its time to live.
    async fn end(&self) -> Result<()> {
        let held: Vec<_> = self
            .locked()
            .drain(..)
            .filter_map(|weak| weak.upgrade())
            .collect();
        let released = join_all(held.iter().map(|keeper| keeper.release())).await;
        let lost = |error: &Error| error.kind() == ErrorKind::LeaseLost;
        released
            .into_iter()
            .filter(|released| !released.as_ref().is_err_and(lost))
            .collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Weak<Keeper>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
