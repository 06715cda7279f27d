//! Holding a number, losing it, giving it back.

use std::time::Duration;

use infra_core::coordination::InstanceIds;
use infra_core::error::ErrorKind;

use super::steps::{NUMBER, comes_back_within, lease, lease_at_last};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, TimeControl, check, check_error};

/// Many leases where the clock is paused; where it is not, as long as a scenario may take.
fn long(harness: &Harness<dyn InstanceIds>) -> Duration {
    match harness.time() {
        TimeControl::Virtual => Duration::from_secs(1800),
        TimeControl::Real => Duration::from_secs(15),
    }
}

/// A number that is held longer than its lease stays held.
pub async fn instance_006_a_held_number_is_renewed(harness: &Harness<dyn InstanceIds>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.bare_client().await?);
    let service = harness.name("service");
    let held = lease(&*ours, &service).await?;
    harness.pass(long(harness)).await;
    let second = theirs.acquire_instance_id(&service, NUMBER..=NUMBER).await;
    check!(
        second.is_err(),
        "{NUMBER} was given to another while its holder lives"
    );
    check!(!held.is_lost(), "a number that was renewed counts as lost");
    Ok(())
}

/// A number that was just released is not handed out again at once: clocks differ, and ids made with it must not come twice.
pub async fn instance_007_a_released_number_rests(harness: &Harness<dyn InstanceIds>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.bare_client().await?);
    let service = harness.name("service");
    lease(&*ours, &service)
        .await?
        .release()
        .await
        .premise("a number is released")?;
    let second = theirs.acquire_instance_id(&service, NUMBER..=NUMBER).await;
    check!(second.is_err(), "{NUMBER} was handed out again at once");
    Ok(())
}

/// A number that was released, or whose holder dropped it, can be leased again when it has rested.
pub async fn instance_008_a_released_or_dropped_number_comes_back(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.bare_client().await?);
    let (released, dropped) = (harness.name("released"), harness.name("dropped"));
    lease(&*ours, &released).await?.release().await?;
    drop(lease(&*ours, &dropped).await?);
    for service in [released, dropped] {
        lease_at_last(harness, &*theirs, &service, "leasing what was given back").await?;
    }
    Ok(())
}

/// The number of a holder that died comes back, and not before the holder, if it lives after all, knows of its loss.
pub async fn instance_009_the_number_of_a_dead_holder_comes_back_after_its_lease(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.bare_client().await?);
    let service = harness.name("service");
    let held = lease(&*ours, &service).await?;
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    lease_at_last(harness, &*theirs, &service, "leasing the number of a dead holder").await?;
    check!(
        held.is_lost(),
        "{NUMBER} was given to another while its holder could still use it"
    );
    Ok(())
}

/// The holder of a number that was revoked is told.
pub async fn instance_010_a_holder_is_told_of_its_loss(harness: &Harness<dyn InstanceIds>) -> Outcome {
    let ids = harness.client().await?;
    let service = harness.name("service");
    let held = lease(&*ids, &service).await?;
    let number = held.id();
    check!(!held.is_lost(), "a number that was just leased counts as lost");
    harness
        .disturb(Disturbance::RevokeInstanceId { service, number })
        .await?;
    let bound = comes_back_within(harness);
    harness
        .within(bound, "telling the holder of its loss", held.lost())
        .await?;
    check!(
        held.lost_token().is_cancelled(),
        "the token does not say that the number was lost"
    );
    check!(
        held.status().is_lost(),
        "the status does not say that the number was lost"
    );
    Ok(())
}

/// Releasing compares the owner: whoever lost a number is told so instead.
pub async fn instance_011_whoever_lost_a_number_cannot_release_it(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    let ids = harness.client().await?;
    let service = harness.name("service");
    let held = lease(&*ids, &service).await?;
    let number = held.id();
    harness
        .disturb(Disturbance::RevokeInstanceId { service, number })
        .await?;
    check_error!(
        held.release().await,
        ErrorKind::LeaseLost,
        "releasing a number that was revoked"
    );
    Ok(())
}

/// A partition that is shorter than the lease costs nothing.
pub async fn instance_012_a_short_partition_is_survived(harness: &Harness<dyn InstanceIds>) -> Outcome {
    let ids = harness.client().await?;
    let held = lease(&*ids, &harness.name("service")).await?;
    // Long enough for a renewal to fail, and shorter than any lease that is configured in earnest.
    let partition = match harness.time() {
        TimeControl::Virtual => Duration::from_secs(12),
        TimeControl::Real => Duration::from_secs(1),
    };
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    harness.pass(partition).await;
    harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
    harness.pass(partition * 2).await;
    check!(
        !held.is_lost(),
        "a number was lost to a partition of {partition:?}"
    );
    Ok(())
}

/// When the server lost its sessions every holder is told, and none of their numbers is given to another before.
pub async fn instance_016_lost_sessions_are_told_before_numbers_are_given_again(
    harness: &Harness<dyn InstanceIds>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.bare_client().await?);
    let services = [harness.name("first"), harness.name("second")];
    let mut held = Vec::new();
    for service in &services {
        held.push(lease(&*ours, service).await?);
    }
    harness.disturb(Disturbance::LoseSessions).await?;
    for (service, held) in services.iter().zip(&held) {
        let what = "leasing a number whose session was lost";
        let _next = lease_at_last(harness, &*theirs, service, what).await?;
        check!(
            held.is_lost(),
            "{NUMBER} was given to another while its holder was not told that its session was lost"
        );
    }
    Ok(())
}
