//! How an instance goes, and who can make it go.

use infra_core::coordination::{InstanceState, Registry};

use super::steps::{instance, lists, live, ports, register};
use crate::conformance::{Harness, Outcome, Premise, SLACK, check, check_eq, over_within, short_lease};

/// An instance that was deregistered is gone at once, for every client.
pub async fn registry_004_deregistering_is_immediate(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let registration = register(&*ours, &service, 1).await?;
    registration.deregister().await?;
    for registry in [&ours, &theirs] {
        check_eq!(
            ports(&**registry, &service).await?,
            [0; 0],
            "the ports after the only instance was deregistered"
        );
    }
    Ok(())
}

/// A registration that is dropped deregisters in the background, and does not wait for its lease to end.
pub async fn registry_014_a_dropped_registration_goes(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let service = harness.name("service");
    drop(register(&*registry, &service, 1).await?);
    harness
        .eventually(SLACK * 5, "the end of a dropped registration", async || {
            live(&*registry, &service).await.is_ok_and(|live| live.is_empty())
        })
        .await
}

/// Whoever gives up waiting for the deregistration has deregistered all the same.
pub async fn registry_015_a_deregistration_given_up_goes_on(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let service = harness.name("service");
    let mut deregistering = Box::pin(register(&*registry, &service, 1).await?.deregister());
    let answered = futures_util::poll!(&mut deregistering).is_ready();
    drop(deregistering);
    let gone = harness.eventually(SLACK * 5, "the end of an instance", async || {
        live(&*registry, &service).await.is_ok_and(|live| live.is_empty())
    });
    if answered {
        // Then there was nothing to give up.
        return gone.await.premise("an instance is deregistered");
    }
    gone.await
}

/// A registration whose id was registered again removes the new one neither by its end nor in the course of time.
pub async fn registry_016_a_replaced_registration_removes_nothing(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (service, ttl) = (harness.name("service"), short_lease(harness, &*ours));
    let mut replaced = Vec::new();
    for _ in 0..2 {
        let registered = ours.register(instance(&service, 1), ttl).await;
        replaced.push(registered.premise("an instance is registered")?);
    }
    let _kept = register(&*theirs, &service, 2).await?;
    lists(&*ours, &service, 2)
        .await
        .premise("the same id replaces the instance")?;
    for replaced in replaced.drain(..1) {
        // Whether this is an error the contract leaves open.
        drop(replaced.deregister().await);
        check_eq!(
            ports(&*ours, &service).await?,
            [2],
            "the ports after whoever was replaced deregistered"
        );
    }
    drop(replaced);
    harness.pass(over_within(&*ours, ttl)).await;
    check_eq!(
        ports(&*ours, &service).await?,
        [2],
        "the ports after whoever was replaced was dropped"
    );
    Ok(())
}

/// A registration whose id was registered again cannot change the new one.
pub async fn registry_017_a_replaced_registration_changes_nothing(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let mut replaced = register(&*ours, &service, 1).await?;
    let _kept = register(&*theirs, &service, 2).await?;
    lists(&*ours, &service, 2)
        .await
        .premise("the same id replaces the instance")?;
    let changed = replaced.set_state(InstanceState::Draining).await;
    check!(
        changed.is_err(),
        "a registration that was replaced was told that it changed the instance"
    );
    let listed: Vec<_> = live(&*theirs, &service)
        .await?
        .iter()
        .map(|live| (live.port, live.state))
        .collect();
    check_eq!(
        listed,
        [(2, InstanceState::Ready)],
        "what is listed after whoever was replaced wanted a change"
    );
    Ok(())
}
