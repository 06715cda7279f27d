//! Who serves what, where, right now.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::registration::Registration;
use crate::backend::Backend;
use crate::capability::Limits;
use crate::error::{Error, Result};
use crate::watch::Watch;

/// Whether an instance takes new work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstanceState {
    /// It takes work.
    #[default]
    Ready,
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// One running copy of a service.
///
/// ```
/// use infra_core::coordination::Instance;
///
/// let instance = Instance::new("user-service", "user-1", "10.0.0.7", 9000)
///     .with_weight(2)
///     .with_zone("b")
///     .with_metadata("version", "1.4.2");
/// assert!(instance.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// The service's name.
    pub service: String,
    /// The instance's id, unique within the service.
    pub id: String,
    /// Host name or IP address (an IPv6 address without brackets).
    pub address: String,
    /// Port.
    pub port: u16,
    /// Whatever else callers should know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Its share of the traffic relative to others. Default: 1; 0 takes none.
    #[serde(default = "one")]
    pub weight: u32,
    /// Where it runs, for callers that prefer their own zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether it takes new work.
    #[serde(default)]
    pub state: InstanceState,
}

const fn one() -> u32 {
    1
}

impl Instance {
    /// A ready instance of weight 1.
    #[must_use]
    pub fn new(
        service: impl Into<String>,
        id: impl Into<String>,
        address: impl Into<String>,
        port: u16,
    ) -> Self {
        Self {
            service: service.into(),
            id: id.into(),
            address: address.into(),
            port,
            metadata: BTreeMap::new(),
            weight: 1,
            zone: None,
            state: InstanceState::Ready,
        }
    }

    /// Sets its share of the traffic.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets where it runs.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Adds a piece of metadata.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Refuses an instance that nobody could reach or tell apart.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty service, id or address, or port 0.
    pub fn validate(&self) -> Result<()> {
        for (what, value) in [
            ("service", &self.service),
            ("id", &self.id),
            ("address", &self.address),
        ] {
            if value.is_empty() {
                return Err(Error::invalid_argument(format!(
                    "the instance has an empty {what}"
                )));
            }
        }
        if self.port == 0 {
            return Err(Error::invalid_argument(
                "the instance has port 0; register the port it really listens on",
            ));
        }
        Ok(())
    }

    /// Refuses an instance that is not [valid](Self::validate), or whose names or whole size the backend does not take. For
    /// backends.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn check(&self, limits: &Limits) -> Result<()> {
        self.validate()?;
        limits.check_key("service name", &self.service)?;
        limits.check_key("instance id", &self.id)?;
        limits.check_value("instance", self.size())
    }

    /// How many bytes its texts have.
    #[must_use]
    pub fn size(&self) -> usize {
        let metadata = self.metadata.iter().map(|(name, value)| name.len() + value.len());
        let zone = self.zone.as_ref().map_or(0, String::len);
        self.service.len() + self.id.len() + self.address.len() + zone + metadata.sum::<usize>()
    }
}

/// The instances of a service at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceSnapshot {
    /// The live instances, ordered by id.
    pub instances: Vec<Instance>,
    /// Where a watch continues.
    pub revision: u64,
}

impl ServiceSnapshot {
    /// Puts a snapshot together.
    #[must_use]
    pub fn new(instances: Vec<Instance>, revision: u64) -> Self {
        Self { instances, revision }
    }
}

/// The service registry.
///
/// # Contract
/// - A registration is a lease: renewed in the background and **made again by itself** after expiry, partition or restart of
///   the server, until it is deregistered or dropped.
/// - Registering an id again replaces the instance; the earlier registration object can then no longer change or remove it.
/// - Deregistering never touches another instance or service.
/// - While the server is away, `discover` serves the last list known, where there is one.
#[crate::intercept(component = "registry")]
#[async_trait]
pub trait Registry: Backend {
    /// Registers an instance for as long as the returned registration lives.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an instance that is not
    /// [valid](Instance::validate) or a time to live outside the limits.
    #[call(idempotent)]
    async fn register(&self, instance: Instance, ttl: Duration) -> Result<Registration>;

    /// The live instances of a service, drained ones included; none is no error.
    #[call(idempotent)]
    async fn discover(&self, service: &str) -> Result<ServiceSnapshot>;

    /// Watches a service from just after `revision`, so that nothing since that snapshot is lost.
    ///
    /// A revision whose history is gone, or that this server never reached, begins with
    /// [`Reset`](crate::watch::WatchEvent::Reset).
    #[call(idempotent)]
    async fn watch_service(&self, service: &str, revision: u64) -> Result<Watch<Instance>>;
}

crate::assert_object_safe!(Registry);

/// Convenience over any [`Registry`]; do not implement it.
#[async_trait]
pub trait RegistryExt: Registry {
    /// The live instances of a service and a watch that continues from exactly there.
    ///
    /// # Errors
    /// Those of [`Registry::discover`] and [`Registry::watch_service`].
    async fn discover_and_watch(&self, service: &str) -> Result<(Vec<Instance>, Watch<Instance>)> {
        let snapshot = self.discover(service).await?;
        let watch = self.watch_service(service, snapshot.revision).await?;
        Ok((snapshot.instances, watch))
    }
}

impl<R: Registry + ?Sized> RegistryExt for R {}
