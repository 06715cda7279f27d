//! The coordinator: one client of Consul, for all contracts of coordination.

use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::{Capabilities, Limits};
use infra_core::error::{Error, Result};
use infra_core::{Backend, async_trait};

use crate::BACKEND;
use crate::client::Client;
use crate::config::ConsulConfig;
use crate::watching::Readings;

/// Registry, configuration centre, locks and instance ids on Consul.
///
/// Clones are one client.
#[derive(Debug, Clone)]
pub struct ConsulCoordinator {
    pub(crate) client: Client,
    pub(crate) readings: Arc<Readings>,
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
        Ok(Self {
            client: Client::connect(config).await?,
            readings: Arc::default(),
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

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.client.close();
        Ok(())
    }
}
