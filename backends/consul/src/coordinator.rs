//! The coordinator: one client of Consul, for all contracts of coordination.

use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::{Capabilities, Limits};
use infra_core::coordination::{LastKnown, Registrations};
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lease::LeasePool;
use infra_core::{Backend, async_trait};

use crate::BACKEND;
use crate::client::Client;
use crate::config::ConsulConfig;
use crate::config_center::Scope;
use crate::instance_ids::HeldIds;
use crate::sessions::Grantor;
use crate::watching::{Readings, Together};

/// Registry, configuration centre, locks and instance ids on Consul.
///
/// Clones are one client.
#[derive(Debug, Clone)]
pub struct ConsulCoordinator {
    pub(crate) client: Client,
    pub(crate) readings: Arc<Readings>,
    pub(crate) together: Arc<Together<Scope>>,
    pub(crate) sessions: LeasePool<Grantor>,
    /// Those that instance ids stand on, which live longer than their holders believe in them.
    pub(crate) id_sessions: LeasePool<Grantor>,
    pub(crate) ids: Arc<HeldIds>,
    pub(crate) registrations: Registrations,
    pub(crate) last_known: Arc<LastKnown>,
    capabilities: Arc<Capabilities>,
}

impl ConsulCoordinator {
    /// Connects; one agent that answers is enough.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that names every problem;
    /// [`Unauthenticated`](infra_core::ErrorKind::Unauthenticated) or [`PermissionDenied`](infra_core::ErrorKind::PermissionDenied) for the token;
    /// [`Unavailable`](infra_core::ErrorKind::Unavailable) or [`Timeout`](infra_core::ErrorKind::Timeout) when no agent answers.
    pub async fn connect(config: ConsulConfig) -> Result<Self> {
        let (ttl, quarantine) = (config.instance_id_ttl, config.instance_id_quarantine);
        let client = Client::connect(config).await?;
        let sessions = |longer, lock_delay| LeasePool::new(Grantor::new(&client, longer, lock_delay));
        Ok(Self {
            // Each attempt for a lock makes a key with a name of its own: there is nothing to delay.
            sessions: sessions(Duration::ZERO, Duration::ZERO),
            // A session that ends early leaves its holders in their belief for so long.
            id_sessions: sessions(quarantine, ttl),
            client,
            readings: Arc::default(),
            together: Arc::default(),
            ids: Arc::default(),
            registrations: Registrations::default(),
            last_known: Arc::default(),
            capabilities: Arc::new(ConsulConfig::capabilities()),
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.capabilities.limits()
    }
}

#[async_trait]
impl Backend for ConsulCoordinator {
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
            .map_err(|error: Error| error.at("coordination", BACKEND, "health"))
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if !self.client.close() {
            return Ok(());
        }
        let end = async {
            let ids = async {
                self.ids.end().await;
                self.id_sessions.end().await
            };
            let (registrations, sessions, ids) =
                tokio::join!(self.registrations.end(), self.sessions.end(), ids);
            registrations.and(sessions).and(ids)
        };
        let ended = tokio::time::timeout(deadline, end).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "not everything was given back within {deadline:?}; the rest ends by its time to live"
                ),
            ))
        });
        ended.map_err(|error| error.at("coordination", BACKEND, "shutdown"))
    }
}
