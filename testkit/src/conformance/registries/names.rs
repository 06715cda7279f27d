//! Services and ids are data: nothing is normalised, nothing is a prefix of anything.

use infra_core::coordination::{Instance, Registry};
use infra_core::error::ErrorKind;

use super::steps::live;
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, long_lease};

/// Names that a path, a pattern, a prefix or a case fold would take for one another; a server may refuse some, and mixes up none.
const SIMILAR: [&str; 12] = [
    "users",
    "users-2",
    "users/a",
    "users/",
    "Users",
    "user",
    " users",
    "users ",
    "users%2Fa",
    "users?dc=1",
    "users/../user",
    "用户",
];

/// Services of similar names list their own instances, and no others.
pub async fn registry_012_similar_services_do_not_mix(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let ttl = long_lease(&*registry);
    let mut taken = Vec::new();
    for (port, tail) in SIMILAR.iter().enumerate() {
        let (service, port) = (harness.name(tail), 9_000 + port as u16);
        match registry
            .register(Instance::new(&service, "one", "host.example", port), ttl)
            .await
        {
            Ok(registration) => taken.push((service, port, registration)),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
            Err(error) => return Err(Failure::from(error)),
        }
    }
    check!(
        taken.len() > 3,
        "only {} of these services were taken: {SIMILAR:?}",
        taken.len()
    );
    for (service, port, _registration) in &taken {
        let ports: Vec<_> = live(&*registry, service)
            .await?
            .iter()
            .map(|instance| instance.port)
            .collect();
        check_eq!(ports, [*port], "the ports of {service:?}");
    }
    Ok(())
}

/// Deregistering touches no other instance and no other service, however similar their ids are.
pub async fn registry_013_deregistering_touches_no_other(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let ttl = long_lease(&*registry);
    let services = [harness.name("apples"), harness.name("pears")];
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for (service, id) in [(0, "one"), (0, "one-2"), (0, "on"), (1, "one")] {
        let instance = Instance::new(&services[service], id, "host.example", 9_000);
        let registered = registry.register(instance, ttl).await;
        let registration = registered.premise("an instance is registered")?;
        match (service, id) {
            (0, "one") => gone.push(registration),
            _ => kept.push(registration),
        }
    }
    for registration in gone {
        registration
            .deregister()
            .await
            .premise("an instance is deregistered")?;
    }
    for other in &kept {
        let instance = other.instance();
        let listed = live(&*registry, &instance.service).await?;
        check!(
            listed.contains(instance),
            "deregistering \"one\" took {:?} of {} away",
            instance.id,
            instance.service
        );
    }
    Ok(())
}
