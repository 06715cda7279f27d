//! Registries that are broken on purpose.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::coordination::{Instance, InstanceState, Registration, Registry, ServiceSnapshot};
use infra_core::watch::Watch;
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_memory::MemoryCoordinator;
use infra_testkit::conformance::{self, Breakage, prove};

use crate::coordinator;

pub(crate) const FAMILY: &str = "registries";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::registries::SCENARIOS,
        &[
            broken("REGISTRY-001", Defect::SeesItsOwn, "lists what the client itself registered"),
            broken("REGISTRY-003", Defect::ForgetsTheTtl, "forgets the time to live of a registration"),
            broken("REGISTRY-005", Defect::KeepsTheFirst, "keeps the first instance of an id"),
            broken("REGISTRY-006", Defect::DropsTheZone, "does not store the zone"),
            broken("REGISTRY-008", Defect::UnknownIsAnError, "says not found of a service that it does not know"),
            broken("REGISTRY-009", Defect::HidesDraining, "lists no instance that drains"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    SeesItsOwn,
    ForgetsTheTtl,
    KeepsTheFirst,
    DropsTheZone,
    UnknownIsAnError,
    HidesDraining,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Registry> {
    Breakage::new(breaks, words, move |_setup| async move {
        let server = coordinator::fixture(MemoryCoordinator::new());
        // What all clients together ever registered.
        let known: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        Ok(server.map(move |inner| {
            let shared = match defect {
                Defect::SeesItsOwn => Arc::default(),
                _ => Arc::clone(&known),
            };
            Arc::new(Client {
                inner: MemoryCoordinator::clone(&inner),
                defect,
                known: shared,
            }) as Arc<dyn Registry>
        }))
    })
}

#[derive(Debug)]
struct Client {
    inner: MemoryCoordinator,
    defect: Defect,
    /// The services that were registered.
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Client {
    fn remember(&self, service: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(service.to_owned());
    }
}

#[async_trait]
impl Backend for Client {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Registry for Client {
    async fn register(&self, mut instance: Instance, mut ttl: Duration) -> Result<Registration> {
        let present = self.inner.discover(&instance.service).await?.instances;
        match self.defect {
            Defect::ForgetsTheTtl => ttl = self.inner.capabilities().limits().max_ttl,
            Defect::DropsTheZone => instance.zone = None,
            Defect::KeepsTheFirst => {
                let first = present.into_iter().find(|first| first.id == instance.id);
                instance = first.unwrap_or(instance);
            }
            _ => {}
        }
        self.remember(&instance.service);
        self.inner.register(instance, ttl).await
    }

    async fn discover(&self, service: &str) -> Result<ServiceSnapshot> {
        let mut snapshot = self.inner.discover(service).await?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(service);
        match self.defect {
            Defect::SeesItsOwn if !is_known => snapshot.instances.clear(),
            Defect::UnknownIsAnError if !is_known => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such service"));
            }
            Defect::HidesDraining => snapshot
                .instances
                .retain(|instance| instance.state != InstanceState::Draining),
            _ => {}
        }
        Ok(snapshot)
    }

    async fn watch_service(&self, service: &str, revision: u64) -> Result<Watch<Instance>> {
        self.inner.watch_service(service, revision).await
    }
}
