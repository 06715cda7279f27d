//! Registries that are broken on purpose.

mod keeping;
mod watching;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::coordination::{Instance, InstanceState, Registration, Registry, ServiceSnapshot};
use infra_core::watch::Watch;
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_memory::MemoryCoordinator;
use infra_testkit::conformance::{self, Breakage, prove};

use crate::coordinator;
use crate::support::{backend_of_inner, locked};
use keeping::Keeper;

pub(crate) const FAMILY: &str = "registries";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::registries::SCENARIOS,
        &[
            broken("REGISTRY-001", Defect::SeesItsOwn, "lists what the client itself registered"),
            broken("REGISTRY-002", Defect::EndsInTheThirdLease, "ends a registration in its third lease, renewed or not"),
            broken("REGISTRY-003", Defect::KeepsTheDead, "makes the registration of a dead client again"),
            broken("REGISTRY-004", Defect::LeavesItToTheLease, "stops renewing when it should deregister"),
            broken("REGISTRY-005", Defect::KeepsTheFirst, "keeps the first instance of an id"),
            broken("REGISTRY-006", Defect::DropsTheZone, "does not store the zone"),
            broken("REGISTRY-007", Defect::DrainsInSilence, "does not tell when an instance begins to drain"),
            broken("REGISTRY-008", Defect::UnknownIsAnError, "says not found of a service that it does not know"),
            broken("REGISTRY-009", Defect::HidesDraining, "lists no instance that drains"),
            broken("REGISTRY-010", Defect::GivesUpItsSession, "does not register again when its session is lost"),
            broken("REGISTRY-010", Defect::ReturnsInSilence, "does not tell of an instance that returns as it was"),
            broken("REGISTRY-011", Defect::OrdersByPort, "orders instances by their addresses"),
            broken("REGISTRY-012", Defect::DiscoversByPrefix, "lists services whose names begin with the one asked for"),
            broken("REGISTRY-013", Defect::RemovesByPrefix, "removes ids that begin with the one deregistered"),
            broken("REGISTRY-014", Defect::KeepsTheDropped, "goes on renewing what was dropped"),
            broken("REGISTRY-015", Defect::ForgetsOnCancellation, "forgets a deregistration that is given up"),
            broken("REGISTRY-016", Defect::RemovesForeign, "deregisters without comparing the owner"),
            broken("REGISTRY-017", Defect::ChangesForeign, "changes an instance without comparing the owner"),
            broken("REGISTRY-018", Defect::GivesUpInAnOutage, "does not register again after an outage"),
            broken("REGISTRY-019", Defect::GivesUpAtOnce, "ends a lease with the connection"),
            broken("REGISTRY-020", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            broken("REGISTRY-021", Defect::ClampsTheTtl, "takes the nearest time to live that it can have"),
            broken("REGISTRY-022", Defect::RefusalShowsAll, "shows in a refusal what was refused"),
            broken("REGISTRY-023", Defect::ForgetsTheList, "knows nothing while the server is away"),
            broken("REGISTRY-024", Defect::AwayIsEmpty, "lists nothing while the server is away"),
            broken("REGISTRY-025", Defect::ListsAfterShutdown, "goes on listing after shutdown"),
            broken("REGISTRY-026", Defect::LeavesItsInstances, "leaves its instances to their leases at shutdown"),
            broken("REGISTRY-027", Defect::WatchesByPrefix, "tells of services whose names begin with the one watched"),
            broken("REGISTRY-028", Defect::BeginsNow, "begins with the present instead of the snapshot"),
            broken("REGISTRY-029", Defect::HidesLostHistory, "goes on after lost history as if nothing was missed"),
            broken("REGISTRY-030", Defect::TakesAnyRevision, "begins with the present where the past is gone"),
            broken("REGISTRY-031", Defect::LosesInSilence, "loses what a slow reader did not read, and does not say so"),
            broken("REGISTRY-032", Defect::ExpiresInSilence, "tells of whoever deregisters and not of whoever dies"),
            broken("REGISTRY-033", Defect::EndsAsUnavailable, "calls every end an unreachable server"),
            broken("REGISTRY-034", Defect::HidesShutdown, "leaves watches open after shutdown"),
            broken("REGISTRY-035", Defect::NoticesDropsLate, "unsubscribes when there is something to tell"),
            broken("REGISTRY-036", Defect::LosesWhileCutOff, "loses what happens while it is cut off"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    SeesItsOwn,
    EndsInTheThirdLease,
    KeepsTheDead,
    LeavesItToTheLease,
    KeepsTheFirst,
    DropsTheZone,
    DrainsInSilence,
    UnknownIsAnError,
    HidesDraining,
    GivesUpItsSession,
    ReturnsInSilence,
    OrdersByPort,
    DiscoversByPrefix,
    RemovesByPrefix,
    KeepsTheDropped,
    ForgetsOnCancellation,
    RemovesForeign,
    ChangesForeign,
    GivesUpInAnOutage,
    GivesUpAtOnce,
    AsksBeforeChecking,
    ClampsTheTtl,
    RefusalShowsAll,
    ForgetsTheList,
    AwayIsEmpty,
    ListsAfterShutdown,
    LeavesItsInstances,
    WatchesByPrefix,
    BeginsNow,
    HidesLostHistory,
    TakesAnyRevision,
    LosesInSilence,
    ExpiresInSilence,
    EndsAsUnavailable,
    HidesShutdown,
    NoticesDropsLate,
    LosesWhileCutOff,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Registry> {
    Breakage::new(breaks, words, move |_setup| async move {
        let server = MemoryCoordinator::new();
        let common = Arc::new(Common {
            spare: server.connect(),
            known: Mutex::default(),
            left: Mutex::default(),
            kept: Mutex::default(),
        });
        Ok(coordinator::fixture(server).map(move |inner| {
            Arc::new(Client {
                inner: MemoryCoordinator::clone(&inner),
                common: Arc::clone(&common),
                defect,
                registered: Mutex::default(),
            }) as Arc<dyn Registry>
        }))
    })
}

/// What all clients of one server share.
#[derive(Debug)]
struct Common {
    /// A connection that no scenario cuts or closes.
    spare: MemoryCoordinator,
    /// The services that were registered.
    known: Mutex<BTreeSet<String>>,
    /// The services and ids of instances that left by themselves.
    left: Mutex<BTreeSet<(String, String)>>,
    /// What lives longer than it should.
    kept: Mutex<Vec<Registration>>,
}

impl Common {
    /// The services whose names begin with this one, without itself.
    fn similar(&self, service: &str) -> Vec<String> {
        let known = locked(&self.known);
        let similar = known.iter().filter(|known| known.starts_with(service));
        similar.filter(|known| *known != service).cloned().collect()
    }

    async fn present(&self, service: &str) -> ServiceSnapshot {
        self.spare.discover(service).await.unwrap_or_default()
    }
}

/// A client that does one thing wrong.
#[derive(Debug)]
struct Client {
    inner: MemoryCoordinator,
    common: Arc<Common>,
    defect: Defect,
    /// What this client registered.
    registered: Mutex<Vec<(Instance, Duration)>>,
}

impl Client {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn knows(&self, service: &str) -> bool {
        match self.defect {
            Defect::SeesItsOwn => {
                let registered = locked(&self.registered);
                registered.iter().any(|(instance, _)| instance.service == service)
            }
            _ => locked(&self.common.known).contains(service),
        }
    }
}

backend_of_inner!(Client, shutdown = close);

impl Client {
    async fn close(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await?;
        let left = std::mem::take(&mut *locked(&self.registered));
        for (instance, ttl) in left.into_iter().filter(|_| self.is(Defect::LeavesItsInstances)) {
            let kept = self.common.spare.register(instance, ttl).await?;
            locked(&self.common.kept).push(kept);
        }
        Ok(())
    }
}

#[async_trait]
impl Registry for Client {
    async fn register(&self, mut instance: Instance, mut ttl: Duration) -> Result<Registration> {
        let limits = self.inner.capabilities().limits();
        match self.defect {
            Defect::ClampsTheTtl => ttl = ttl.clamp(limits.min_ttl, limits.max_ttl),
            Defect::DropsTheZone => instance.zone = None,
            Defect::AsksBeforeChecking => self.inner.health().await?,
            Defect::KeepsTheFirst => {
                let present = self.common.present(&instance.service).await.instances;
                let first = present.into_iter().find(|first| first.id == instance.id);
                instance = first.unwrap_or(instance);
            }
            _ => {}
        }
        let registered = match self.inner.register(instance.clone(), ttl).await {
            Err(error) if self.is(Defect::RefusalShowsAll) && error.kind() == ErrorKind::InvalidArgument => {
                return Err(error.context(format!("registering {instance:?}")));
            }
            answer => answer?,
        };
        locked(&self.common.known).insert(instance.service.clone());
        locked(&self.registered).push((instance.clone(), ttl));
        let keeper = Keeper::new(self, registered, ttl).await?;
        Ok(Registration::new(instance, keeper))
    }

    async fn discover(&self, service: &str) -> Result<ServiceSnapshot> {
        if self.is(Defect::ForgetsTheList) && !service.is_empty() {
            self.inner.health().await?;
        }
        let mut snapshot = match (self.inner.discover(service).await, self.defect) {
            (Err(error), Defect::AwayIsEmpty) if error.kind() == ErrorKind::Unavailable => {
                return Ok(ServiceSnapshot::default());
            }
            (Err(error), Defect::ListsAfterShutdown) if error.kind() == ErrorKind::Closed => {
                return Ok(self.common.present(service).await);
            }
            (answer, _) => answer?,
        };
        let instances = &mut snapshot.instances;
        match self.defect {
            Defect::SeesItsOwn if !self.knows(service) => instances.clear(),
            Defect::UnknownIsAnError if !self.knows(service) => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such service"));
            }
            Defect::HidesDraining => instances.retain(|instance| instance.state != InstanceState::Draining),
            Defect::OrdersByPort => instances.sort_by_key(|instance| instance.port),
            Defect::DiscoversByPrefix => {
                for similar in self.common.similar(service) {
                    instances.extend(self.common.present(&similar).await.instances);
                }
            }
            _ => {}
        }
        Ok(snapshot)
    }

    async fn watch_service(&self, service: &str, revision: u64) -> Result<Watch<Instance>> {
        watching::watch(self, service, revision).await
    }
}
