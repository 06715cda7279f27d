//! Registrations are leases that keep and make themselves again.

use futures_util::StreamExt;
use infra_core::coordination::Registry;
use infra_core::watch::WatchEvent;

use super::steps::{briefly_registered, lists, live, watch};
use crate::conformance::{Disturbance, Failure, Harness, Outcome, SLACK, TimeControl, check, over_within};

/// An instance that lives stays listed without a gap for many times its lease.
pub async fn registry_002_renewals_keep_an_instance(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let (_kept, ttl) = briefly_registered(harness, &*ours, &*theirs, &service).await?;
    let leases = match harness.time() {
        TimeControl::Virtual => 20,
        TimeControl::Real => 3,
    };
    for quarter in 1..=leases * 4 {
        harness.pass(ttl / 4).await;
        let listed = live(&*theirs, &service).await?;
        check!(
            listed.len() == 1,
            "{quarter} quarters of its lease after its registration, an instance that lives is not listed"
        );
    }
    Ok(())
}

/// When the server lost its sessions, instances register themselves again, and a watch tells that they are there.
pub async fn registry_010_lost_sessions_are_made_again(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let (_kept, ttl) = briefly_registered(harness, &*ours, &*theirs, &service).await?;
    let mut watch = watch(&*theirs, &service).await?;
    harness.disturb(Disturbance::LoseSessions).await?;
    let returned = async {
        loop {
            match watch.next().await {
                // After a reset the reader reads the present state.
                Some(WatchEvent::Put(_) | WatchEvent::Reset) => return Ok(()),
                Some(WatchEvent::Closed(error)) => {
                    return Err(Failure::broken(format!("lost sessions ended a watch: {error}")));
                }
                Some(_) => {}
                None => return Err(Failure::broken("lost sessions ended a watch in silence")),
            }
        }
    };
    harness
        .within(
            over_within(&*ours, ttl),
            "telling a watch that an instance is there again",
            returned,
        )
        .await??;
    harness
        .eventually(
            over_within(&*ours, ttl),
            "an instance whose session was lost",
            async || lists(&*theirs, &service, 1).await,
        )
        .await
}

/// After an outage that was longer than the lease, of its connection or of the server, an instance registers itself again.
pub async fn registry_018_an_instance_outlives_a_long_outage(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let (_kept, ttl) = briefly_registered(harness, &*ours, &*theirs, &service).await?;
    for (begin, end) in [
        (
            Disturbance::Disconnect { client: 0 },
            Disturbance::Reconnect { client: 0 },
        ),
        (Disturbance::GoAway, Disturbance::ComeBack),
    ] {
        let what = format!("an instance after {begin:?} and {end:?}");
        harness.disturb(begin).await?;
        harness.pass(over_within(&*ours, ttl)).await;
        harness.disturb(end).await?;
        harness
            .eventually(over_within(&*ours, ttl) + SLACK * 5, &what, async || {
                lists(&*theirs, &service, 1).await
            })
            .await?;
    }
    Ok(())
}

/// A partition that is shorter than the lease is not noticed by anybody.
pub async fn registry_019_a_short_partition_is_survived(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let (_kept, ttl) = briefly_registered(harness, &*ours, &*theirs, &service).await?;
    // Long enough for a renewal to fail, and short enough for the next to come in time.
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    for tenth in 1..=14 {
        harness.pass(ttl / 10).await;
        if tenth == 4 {
            harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
        }
        check!(
            live(&*theirs, &service).await?.len() == 1,
            "{tenth} tenths of its lease after the begin of a partition of four, an instance is not listed"
        );
    }
    Ok(())
}
