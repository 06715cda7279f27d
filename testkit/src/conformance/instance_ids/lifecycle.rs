//! Shutdown, and a server that is away.

use infra_core::coordination::InstanceIds;
use infra_core::error::ErrorKind;

use super::steps::{comes_back_within, lease, lease_at_last};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, SLACK, check, check_error};

/// After shutdown every call is refused; a second shutdown succeeds, and other clients are not concerned.
pub async fn instance_013_after_shutdown_every_call_is_refused(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    check_error!(
        ours.acquire_instance_id(&service, 0..=9).await,
        ErrorKind::Closed,
        "acquire_instance_id after shutdown"
    );
    check_error!(ours.health().await, ErrorKind::Closed, "health after shutdown");
    lease(&*theirs, &service).await?;
    Ok(())
}

/// What a client held when it was shut down comes back, and whoever still has the number is told.
pub async fn instance_014_shutdown_gives_back_what_was_held(harness: &Harness<dyn InstanceIds>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.bare_client().await?);
    let service = harness.name("service");
    let held = lease(&*ours, &service).await?;
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    lease_at_last(
        harness,
        &*theirs,
        &service,
        "leasing the number of a client that was shut down",
    )
    .await?;
    let bound = comes_back_within(harness);
    harness
        .within(
            bound,
            "telling the holder whose client was shut down",
            held.lost(),
        )
        .await
}

/// While the server is away calls fail as unavailable, which may be tried again; when it is back they succeed.
pub async fn instance_015_an_unreachable_server_is_unavailable(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let ids = harness.bare_client().await?;
    let service = harness.name("service");
    harness.disturb(Disturbance::GoAway).await?;
    let refused = ids.acquire_instance_id(&service, 0..=9).await;
    harness.disturb(Disturbance::ComeBack).await?;
    let error = check_error!(refused, ErrorKind::Unavailable, "a call while the server is away");
    check!(
        error.is_retryable(),
        "the server may come back, and the error says never: {error:?}"
    );
    lease_at_last(harness, &*ids, &service, "leasing after the server came back").await?;
    Ok(())
}
