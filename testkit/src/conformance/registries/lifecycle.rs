//! Shutdown, and a server that is away.

use infra_core::coordination::{InstanceState, Registry};
use infra_core::error::ErrorKind;

use super::steps::{instance, lists, ports, register};
use crate::conformance::answers::{all_refused, all_unavailable};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, SLACK, check_eq, long_lease};

/// While the server is away, a client that discovered a service before is given the last list that it saw.
pub async fn registry_023_the_last_list_is_served_while_the_server_is_away(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let _kept = register(&*ours, &service, 1).await?;
    lists(&*theirs, &service, 1)
        .await
        .premise("an instance is listed")?;
    harness.disturb(Disturbance::GoAway).await?;
    let last = theirs.discover(&service).await;
    harness.disturb(Disturbance::ComeBack).await?;
    let ports: Vec<_> = last?.instances.iter().map(|instance| instance.port).collect();
    check_eq!(ports, [1], "the ports that are given while the server is away");
    Ok(())
}

/// While the server is away, what cannot be answered is unavailable, which may be tried again, and never an empty list; when it is back,
/// calls succeed.
pub async fn registry_024_an_unreachable_server_is_unavailable(harness: &Harness<dyn Registry>) -> Outcome {
    let ours = harness.client().await?;
    // Directly: a stack may say in its own way what it made of many failures.
    let theirs = harness.bare_client().await?;
    let service = harness.name("service");
    let _kept = register(&*ours, &service, 1).await?;
    harness.disturb(Disturbance::GoAway).await?;
    let ttl = long_lease(&*theirs);
    let answers = vec![
        ("discover", theirs.discover(&service).await.map(drop)),
        (
            "register",
            theirs.register(instance(&service, 2), ttl).await.map(drop),
        ),
        ("health", theirs.health().await),
    ];
    harness.disturb(Disturbance::ComeBack).await?;
    all_unavailable(answers)?;
    harness
        .eventually(SLACK * 5, "discovering after the server came back", async || {
            theirs.discover(&service).await.is_ok()
        })
        .await
}

/// After shutdown every call is refused, also one whose answer was known; a second shutdown succeeds, and other clients are not
/// concerned.
pub async fn registry_025_after_shutdown_every_call_is_refused(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (mine, service) = (harness.name("mine"), harness.name("service"));
    let mut registration = register(&*ours, &mine, 1).await?;
    let _kept = register(&*theirs, &service, 2).await?;
    lists(&*ours, &service, 2)
        .await
        .premise("an instance is listed")?;
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    let again = ours.register(instance(&mine, 3), long_lease(&*ours)).await;
    let answers = vec![
        ("register", again.map(drop)),
        ("discover", ours.discover(&service).await.map(drop)),
        ("watch_service", ours.watch_service(&service, 0).await.map(drop)),
        ("set_state", registration.set_state(InstanceState::Draining).await),
        ("health", ours.health().await),
    ];
    all_refused(answers, ErrorKind::Closed, "after shutdown")?;
    check_eq!(
        ports(&*theirs, &service).await?,
        [2],
        "the ports of another client's service"
    );
    Ok(())
}

/// What a client registered is gone after its shutdown, also if the registration is still held.
pub async fn registry_026_shutdown_deregisters(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let _held = register(&*ours, &service, 1).await?;
    lists(&*theirs, &service, 1)
        .await
        .premise("an instance is listed")?;
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    check_eq!(
        ports(&*theirs, &service).await?,
        [0; 0],
        "the ports of a client that was shut down"
    );
    Ok(())
}
