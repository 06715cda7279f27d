//! What several scenarios of registries do first: each step is a premise, which another scenario proves.

use std::time::Duration;

use infra_core::coordination::{Instance, InstanceState, Registration, Registry, RegistryExt};
use infra_core::watch::{Watch, WatchEvent};

use crate::conformance::watches::steps::next;
use crate::conformance::{Failure, Harness, Outcome, Premise, long_lease, short_lease};

/// The instance `one` of a service.
pub(crate) fn instance(service: &str, port: u16) -> Instance {
    Instance::new(service, "one", "host.example", port)
}

/// The instances that a client is told of.
pub(crate) async fn live(registry: &dyn Registry, service: &str) -> Result<Vec<Instance>, Failure> {
    let snapshot = registry
        .discover(service)
        .await
        .premise("a service is discovered")?;
    Ok(snapshot.instances)
}

/// The ports that a client is told of.
pub(crate) async fn ports(registry: &dyn Registry, service: &str) -> Result<Vec<u16>, Failure> {
    let live = live(registry, service).await?;
    Ok(live.iter().map(|instance| instance.port).collect())
}

/// Whether exactly this port is listed; an answer that is none counts as no.
pub(crate) async fn lists(registry: &dyn Registry, service: &str, port: u16) -> bool {
    ports(registry, service).await.is_ok_and(|ports| ports == [port])
}

/// Registers the instance `one` under a short lease, whose length comes with it, and sees that another client lists it.
pub(crate) async fn briefly_registered(
    harness: &Harness<dyn Registry>,
    ours: &dyn Registry,
    theirs: &dyn Registry,
    service: &str,
) -> Result<(Registration, Duration), Failure> {
    let ttl = short_lease(harness, ours);
    let registered = ours.register(instance(service, 1), ttl).await;
    let registered = registered.premise("an instance is registered")?;
    lists(theirs, service, 1).await.premise("an instance is listed")?;
    Ok((registered, ttl))
}

/// Registers the instance `one` for as long as it is kept.
pub(crate) async fn register(
    registry: &dyn Registry,
    service: &str,
    port: u16,
) -> Result<Registration, Failure> {
    let registered = registry
        .register(instance(service, port), long_lease(registry))
        .await;
    registered.premise("an instance is registered")
}

/// A watch from the present state of a service.
pub(crate) async fn watch(registry: &dyn Registry, service: &str) -> Result<Watch<Instance>, Failure> {
    let (_, watch) = registry
        .discover_and_watch(service)
        .await
        .premise("a service is watched")?;
    Ok(watch)
}

/// The next event in short: `one at 80`, `one at 80 drains`, `one left`, `reset` …
pub(crate) async fn told(
    harness: &Harness<dyn Registry>,
    watch: &mut Watch<Instance>,
) -> Result<String, Failure> {
    Ok(match next(harness, watch).await? {
        WatchEvent::Put(instance) => {
            let drains = match instance.state {
                InstanceState::Draining => " drains",
                _ => "",
            };
            format!("{} at {}{drains}", instance.id, instance.port)
        }
        WatchEvent::Delete(id) => format!("{id} left"),
        WatchEvent::Reset => "reset".to_owned(),
        WatchEvent::Closed(error) => format!("closed as {:?}", error.kind()),
        other => format!("{other:?}"),
    })
}

/// Reads until it is told of this port; what says that something was missed may come first.
pub(crate) async fn told_at_last(
    harness: &Harness<dyn Registry>,
    watch: &mut Watch<Instance>,
    port: u16,
) -> Outcome {
    loop {
        match next(harness, watch).await? {
            WatchEvent::Put(instance) if instance.port == port => return Ok(()),
            WatchEvent::Closed(error) => {
                return Err(Failure::broken(format!(
                    "the watch ended before port {port} came: {error}"
                )));
            }
            _ => {}
        }
    }
}
