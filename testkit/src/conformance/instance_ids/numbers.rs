//! Which numbers are given.

use std::collections::BTreeSet;

use infra_core::coordination::InstanceIds;
use infra_core::error::ErrorKind;

use super::steps::{NUMBER, lease};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, check, check_eq, check_error};

/// So many instances start at once, on so many clients.
const INSTANCES: usize = 300;
const CLIENTS: usize = 10;

/// Names that a path or a case fold would take for one another.
const SIMILAR: [&str; 6] = ["a", "A", "a/", "a/b", "a-b", "a."];

/// Every number of a range is given, its ends included, and none outside.
pub async fn instance_001_every_number_of_the_range_is_leased(harness: &Harness<dyn InstanceIds>) -> Outcome {
    let ids = harness.client().await?;
    for (service, range) in [("low", 0..=0), ("high", 1023..=1023), ("some", 5..=7)] {
        let service = harness.name(service);
        let (mut held, mut numbers) = (Vec::new(), BTreeSet::new());
        for _ in range.clone() {
            let id = ids.acquire_instance_id(&service, range.clone()).await?;
            numbers.insert(id.id());
            held.push(id);
        }
        check!(
            range.clone().eq(numbers.iter().copied()),
            "of {range:?} were given {numbers:?}"
        );
    }
    Ok(())
}

/// Hundreds of instances that start at once get a number each, and no two the same.
pub async fn instance_002_hundreds_at_once_get_different_numbers(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    let service = harness.name("service");
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(harness.client().await?);
    }
    let mut starting = tokio::task::JoinSet::new();
    for instance in 0..INSTANCES {
        let (ids, service) = (clients[instance % CLIENTS].clone(), service.clone());
        starting.spawn(async move { ids.acquire_instance_id(&service, 0..=1023).await });
    }
    let (mut held, mut numbers) = (Vec::new(), BTreeSet::new());
    while let Some(id) = starting.join_next().await {
        let id = id?.premise("a number of many is leased")?;
        check!(
            numbers.insert(id.id()),
            "{} was given to two live instances",
            id.id()
        );
        held.push(id);
    }
    check_eq!(numbers.len(), INSTANCES, "how many numbers were given");
    Ok(())
}

/// Each service has numbers of its own, however similar the names.
pub async fn instance_003_services_do_not_share_their_numbers(harness: &Harness<dyn InstanceIds>) -> Outcome {
    let ids = harness.client().await?;
    let mut held = Vec::new();
    for service in SIMILAR {
        let id = ids
            .acquire_instance_id(&harness.name(service), NUMBER..=NUMBER)
            .await;
        check!(
            id.is_ok(),
            "{NUMBER} of {service:?} is taken by a service of similar name: {id:?}"
        );
        held.extend(id);
    }
    Ok(())
}

/// When every number of the range is taken, the resource is exhausted; another range is not concerned.
pub async fn instance_004_an_exhausted_range_says_so(harness: &Harness<dyn InstanceIds>) -> Outcome {
    // Directly: a stack may wait for a number that comes free.
    let ids = harness.bare_client().await?;
    let service = harness.name("service");
    let _held = lease(&*ids, &service).await?;
    check_error!(
        ids.acquire_instance_id(&service, NUMBER..=NUMBER).await,
        ErrorKind::ResourceExhausted,
        "a second number of a range of one"
    );
    let above = ids.acquire_instance_id(&service, NUMBER + 1..=NUMBER + 1).await;
    above.premise("a free number is leased")?;
    Ok(())
}

/// An empty range or service name is refused before the server is asked: also while it is away.
#[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
pub async fn instance_005_bad_arguments_are_refused_without_the_server(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    let ids = harness.client().await?;
    let service = harness.name("service");
    harness.disturb(Disturbance::GoAway).await?;
    let empty = ids.acquire_instance_id(&service, 2..=1).await;
    let nameless = ids.acquire_instance_id("", 0..=1).await;
    harness.disturb(Disturbance::ComeBack).await?;
    check_error!(empty, ErrorKind::InvalidArgument, "an empty range");
    check_error!(nameless, ErrorKind::InvalidArgument, "an empty service name");
    Ok(())
}
