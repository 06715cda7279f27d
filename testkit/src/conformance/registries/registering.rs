//! Who is listed, and as what.

use infra_core::coordination::{Instance, InstanceState, Registry};

use super::steps::{instance, live};
use crate::conformance::{
    Disturbance, Harness, Outcome, Premise, SLACK, check_eq, long_lease, over_within, short_lease,
};

/// An instance that was registered is discovered at once, by every client.
pub async fn registry_001_a_registered_instance_is_discovered(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let _kept = ours.register(instance(&service, 1), long_lease(&*ours)).await?;
    for registry in [&ours, &theirs] {
        let ports: Vec<_> = live(&**registry, &service)
            .await?
            .iter()
            .map(|live| live.port)
            .collect();
        check_eq!(
            ports,
            [1],
            "the ports of a service of which one instance registered"
        );
    }
    Ok(())
}

/// An instance whose process died is gone when its lease is over.
pub async fn registry_003_a_dead_instance_is_gone_after_its_lease(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (service, ttl) = (harness.name("service"), short_lease(harness, &*ours));
    let registered = ours.register(instance(&service, 1), ttl).await;
    let _kept = registered.premise("an instance is registered")?;
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    harness
        .eventually(
            over_within(&*theirs, ttl) + SLACK,
            "the end of a dead instance",
            async || live(&*theirs, &service).await.is_ok_and(|live| live.is_empty()),
        )
        .await
}

/// Registering an id again replaces the instance, and does not list it twice.
pub async fn registry_005_the_same_id_replaces_the_instance(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let (service, ttl) = (harness.name("service"), long_lease(&*registry));
    let first = registry.register(instance(&service, 1), ttl).await;
    let _first = first.premise("an instance is registered")?;
    let _second = registry.register(instance(&service, 2), ttl).await?;
    let ports: Vec<_> = live(&*registry, &service)
        .await?
        .iter()
        .map(|live| live.port)
        .collect();
    check_eq!(ports, [2], "the ports after the same id was registered again");
    Ok(())
}

/// Metadata, weight and zone come back as they were registered.
pub async fn registry_006_all_of_an_instance_comes_back(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let service = harness.name("service");
    let full = instance(&service, 1)
        .with_weight(0)
        .with_zone("b")
        .with_metadata("version", "1.4.2 ä=\n");
    let registered = registry.register(full.clone(), long_lease(&*registry)).await;
    let _kept = registered.premise("an instance is registered")?;
    check_eq!(live(&*registry, &service).await?, [full], "what was registered");
    Ok(())
}

/// A service of which no instance was ever registered is empty, and no error.
pub async fn registry_008_an_unknown_service_is_empty(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let snapshot = registry.discover(&harness.name("unknown")).await?;
    check_eq!(snapshot.instances, [], "the instances of an unknown service");
    Ok(())
}

/// An instance that drains stays listed, and says so.
pub async fn registry_009_a_draining_instance_stays_listed(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let service = harness.name("service");
    let registered = registry
        .register(instance(&service, 1), long_lease(&*registry))
        .await;
    let mut kept = registered.premise("an instance is registered")?;
    kept.set_state(InstanceState::Draining).await?;
    let states: Vec<_> = live(&*registry, &service)
        .await?
        .iter()
        .map(|live| live.state)
        .collect();
    check_eq!(
        states,
        [InstanceState::Draining],
        "the states after the only instance began to drain"
    );
    Ok(())
}

/// Instances come in the order of their ids, whatever the order in which they registered.
pub async fn registry_011_instances_are_ordered_by_id(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let (service, ttl) = (harness.name("service"), long_lease(&*registry));
    let mut kept = Vec::new();
    for (port, id) in ["b", "a", "c", "B", "10", "9"].into_iter().enumerate() {
        let instance = Instance::new(&service, id, "host.example", 9_000 + port as u16);
        kept.push(
            registry
                .register(instance, ttl)
                .await
                .premise("an instance is registered")?,
        );
    }
    let listed = live(&*registry, &service).await?;
    let ids: Vec<_> = listed.iter().map(|instance| instance.id.as_str()).collect();
    check_eq!(
        ids,
        ["10", "9", "B", "a", "b", "c"],
        "the ids of a service of six"
    );
    Ok(())
}
