//! What is refused, and how the refusal reads.

use std::time::Duration;

use infra_core::coordination::{Instance, Registry};
use infra_core::error::{Error, ErrorKind};

use super::steps::{instance, live};
use crate::conformance::{
    Disturbance, Harness, Outcome, Premise, check, check_eq, check_error, limits, long_lease,
};

/// A text that is in no error.
const SECRET: &str = "hunter2";

/// An instance that nobody could reach or tell apart is refused before the server is asked: also while it is away.
pub async fn registry_020_bad_arguments_are_refused_without_the_server(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let registry = harness.client().await?;
    let (service, ttl) = (harness.name("service"), long_lease(&*registry));
    let mut answers = Vec::new();
    harness.disturb(Disturbance::GoAway).await?;
    for (what, bad) in [
        ("an empty service", Instance::new("", "one", "host.example", 1)),
        ("an empty id", Instance::new(&service, "", "host.example", 1)),
        ("an empty address", Instance::new(&service, "one", "", 1)),
        ("port 0", instance(&service, 0)),
    ] {
        answers.push((what, registry.register(bad, ttl).await.map(drop)));
    }
    answers.push(("discovering no service", registry.discover("").await.map(drop)));
    answers.push((
        "watching no service",
        registry.watch_service("", 0).await.map(drop),
    ));
    harness.disturb(Disturbance::ComeBack).await?;
    for (what, answer) in answers {
        check_error!(answer, ErrorKind::InvalidArgument, "{what}");
    }
    Ok(())
}

/// What is larger, longer or shorter than the backend declares is refused, and nothing is registered: no value is rounded.
pub async fn registry_021_what_exceeds_the_limits_is_refused(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let (service, ttl) = (harness.name("service"), long_lease(&*registry));
    let limits = limits(&*registry);
    let long = "n".repeat(limits.max_key_bytes + 1);
    let one = instance(&service, 1);
    for (what, bad, ttl) in [
        (
            "a service that is too long",
            Instance::new(&long, "one", "host.example", 1),
            ttl,
        ),
        (
            "an id that is too long",
            Instance::new(&service, &long, "host.example", 1),
            ttl,
        ),
        (
            "too much metadata",
            one.clone().with_metadata("key", large(limits.max_value_bytes)),
            ttl,
        ),
        ("no time to live", one.clone(), Duration::ZERO),
        ("too short a time to live", one.clone(), limits.min_ttl / 2),
        (
            "too long a time to live",
            one,
            limits.max_ttl + Duration::from_millis(1),
        ),
    ] {
        check_error!(
            registry.register(bad, ttl).await.map(drop),
            ErrorKind::InvalidArgument,
            "registering {what}"
        );
    }
    check_error!(
        registry.discover(&long).await.map(drop),
        ErrorKind::InvalidArgument,
        "discovering a service that is too long"
    );
    check_eq!(live(&*registry, &service).await?, [], "what was refused");
    Ok(())
}

/// No error shows metadata, not even to a debugger.
pub async fn registry_022_errors_show_no_metadata(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let (service, ttl) = (harness.name("service"), long_lease(&*registry));
    let secret = |instance: Instance| instance.with_metadata("password", SECRET);
    let large = large(limits(&*registry).max_value_bytes);
    for bad in [
        secret(instance(&service, 0)),
        secret(instance(&service, 1)).with_metadata("key", large),
    ] {
        let refused = registry.register(bad, ttl).await.map(drop).err();
        let error: Error = refused.premise("a bad instance is refused")?;
        let said = format!("{error} {error:?}");
        check!(!said.contains(SECRET), "an error shows metadata: {said:.500}");
    }
    Ok(())
}

fn large(limit: usize) -> String {
    "m".repeat(limit + 1)
}
