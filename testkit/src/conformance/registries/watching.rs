//! What a watch of a service tells, and what interrupts and ends it.

use futures_util::StreamExt;
use infra_core::capability::Capability;
use infra_core::coordination::{InstanceState, Registry};
use infra_core::error::{Error, ErrorKind};
use infra_core::watch::WatchEvent;

use super::steps::{instance, lists, live, register, told, told_at_last, watch};
use crate::conformance::answers::unsubscribed_when_dropped;
use crate::conformance::watches::steps::{next, silent};
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq, declares, over_within,
    short_lease,
};

/// More changes than a watch holds for a reader that does not read.
const FLOOD: u64 = 3_000;

/// A watch tells of an instance that joins, changes, drains and leaves.
pub async fn registry_007_joining_changing_and_leaving_are_told(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let mut watch = watch(&*ours, &service).await?;
    let _first = register(&*theirs, &service, 1).await?;
    check_eq!(
        told(harness, &mut watch).await?,
        "one at 1",
        "after an instance joined"
    );
    let mut second = register(&*theirs, &service, 2).await?;
    lists(&*theirs, &service, 2)
        .await
        .premise("the same id replaces the instance")?;
    check_eq!(told(harness, &mut watch).await?, "one at 2", "after it changed");
    second
        .set_state(InstanceState::Draining)
        .await
        .premise("an instance drains")?;
    check_eq!(
        told(harness, &mut watch).await?,
        "one at 2 drains",
        "after it began to drain"
    );
    second.deregister().await.premise("an instance is deregistered")?;
    let listed = live(&*theirs, &service).await?;
    listed.is_empty().premise("an instance is gone at once")?;
    check_eq!(told(harness, &mut watch).await?, "one left", "after it left");
    Ok(())
}

/// A watch tells of its service alone, and not of one whose name begins with the same letters.
pub async fn registry_027_a_watch_tells_of_its_service_alone(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let (service, similar) = (harness.name("users"), harness.name("users-2"));
    let _before = register(&*registry, &similar, 1).await?;
    let mut watch = watch(&*registry, &service).await?;
    let _after = register(&*registry, &similar, 2).await?;
    silent(harness, &mut watch).await?;
    let _ours = register(&*registry, &service, 3).await?;
    told(harness, &mut watch)
        .await?
        .eq("one at 3")
        .premise("an instance that joins is told")
}

/// What changes between the snapshot and the watch is told.
pub async fn registry_028_a_watch_continues_from_its_snapshot(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let snapshot = ours.discover(&service).await.premise("a service is discovered")?;
    let _kept = register(&*theirs, &service, 1).await?;
    let mut watch = ours.watch_service(&service, snapshot.revision).await?;
    let first = told(harness, &mut watch).await?;
    if declares(&*ours, Capability::WatchFromRevision) {
        check_eq!(first, "one at 1", "what came between the snapshot and the watch");
    } else {
        check!(
            ["one at 1", "reset"].contains(&first.as_str()),
            "of what came between the snapshot and the watch was told: {first}"
        );
    }
    Ok(())
}

/// A watch whose history was lost says so, and goes on with what changes from then on.
pub async fn registry_029_lost_history_is_told_and_the_watch_goes_on(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let mut watch = watch(&*ours, &service).await?;
    harness.disturb(Disturbance::LoseHistory).await?;
    check_eq!(
        told(harness, &mut watch).await?,
        "reset",
        "after the history was lost"
    );
    let _kept = register(&*theirs, &service, 1).await?;
    check_eq!(told(harness, &mut watch).await?, "one at 1", "after the reset");
    Ok(())
}

/// A watch from a revision whose history is gone, or that the server never reached, begins with a reset and goes on.
pub async fn registry_030_an_unknown_revision_begins_with_a_reset(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let snapshot = ours.discover(&service).await.premise("a service is discovered")?;
    let _first = register(&*theirs, &service, 1).await?;
    harness.disturb(Disturbance::LoseHistory).await?;
    for (what, revision) in [
        ("from a revision whose history is gone", snapshot.revision),
        ("from a revision never reached", snapshot.revision + 1_000_000),
    ] {
        let mut watch = ours.watch_service(&service, revision).await?;
        check_eq!(told(harness, &mut watch).await?, "reset", "{what}");
    }
    Ok(())
}

/// A reader that is too slow is told how many events it missed, and the watch goes on; the writer never waits for it.
pub async fn registry_031_a_slow_reader_learns_how_much_it_missed(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let mut watch = watch(&*ours, &service).await?;
    let mut flooding = register(&*theirs, &service, 1).await?;
    let keeps_history = declares(&*ours, Capability::WatchFromRevision);
    for number in 1..FLOOD {
        // What keeps no history tells of what differs, not of what was written.
        let state = if keeps_history || number % 2 == 0 {
            InstanceState::Ready
        } else {
            InstanceState::Draining
        };
        flooding
            .set_state(state)
            .await
            .premise("an instance is written again")?;
    }
    if !keeps_history {
        // Of changes that followed each other at once the last one stands for all: there is nothing to count.
        while tokio::time::timeout(SLACK, watch.next()).await.is_ok() {}
    }
    let mut accounted = 0;
    while keeps_history && accounted < FLOOD {
        match next(harness, &mut watch).await? {
            WatchEvent::Put(_) => accounted += 1,
            WatchEvent::Lagged { missed } => accounted += missed,
            // Everything since is unknown; what comes later is not.
            WatchEvent::Reset => break,
            other => return Err(Failure::broken(format!("a slow reader was told {other:?}"))),
        }
    }
    let _last = register(&*theirs, &service, 2).await?;
    lists(&*theirs, &service, 2)
        .await
        .premise("the same id replaces the instance")?;
    told_at_last(harness, &mut watch, 2).await
}

/// An instance that dies is told to have left, without anybody asking for the list.
pub async fn registry_032_the_end_of_a_lease_is_told(harness: &Harness<dyn Registry>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (service, ttl) = (harness.name("service"), short_lease(harness, &*ours));
    let registered = ours.register(instance(&service, 1), ttl).await;
    let _kept = registered.premise("an instance is registered")?;
    let mut watch = watch(&*theirs, &service).await?;
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    let event = harness
        .within(
            over_within(&*theirs, ttl) + SLACK,
            "telling that an instance died",
            watch.next(),
        )
        .await?;
    check!(
        matches!(&event, Some(WatchEvent::Delete(id)) if id == "one"),
        "when an instance died the watch told {event:?}"
    );
    Ok(())
}

/// A watch that cannot go on says why in the words of the server, and ends.
pub async fn registry_033_the_end_says_why(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let mut watch = watch(&*registry, &harness.name("service")).await?;
    let error = Error::new(ErrorKind::PermissionDenied, "the role was revoked");
    harness.disturb(Disturbance::CloseWatches { error }).await?;
    check_eq!(
        told(harness, &mut watch).await?,
        "closed as PermissionDenied",
        "why the watch ended"
    );
    let end = harness
        .within(SLACK, "the end of a closed watch", watch.next())
        .await?;
    check!(end.is_none(), "after its end the watch told {end:?}");
    Ok(())
}

/// Shutdown ends the watches of its client, which are told so, and no others.
pub async fn registry_034_shutdown_ends_the_watches_of_its_client(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let (mut closed, mut open) = (watch(&*ours, &service).await?, watch(&*theirs, &service).await?);
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    check_eq!(
        told(harness, &mut closed).await?,
        "closed as Closed",
        "the watch of that client"
    );
    let _kept = register(&*theirs, &service, 1).await?;
    check_eq!(
        told(harness, &mut open).await?,
        "one at 1",
        "the watch of another client"
    );
    Ok(())
}

/// A watch that is dropped is unsubscribed at the server, without waiting for a change.
pub async fn registry_035_a_dropped_watch_is_unsubscribed(harness: &Harness<dyn Registry>) -> Outcome {
    let registry = harness.client().await?;
    let service = harness.name("service");
    unsubscribed_when_dropped(harness, watch(&*registry, &service)).await
}

/// Of what happened while its client was cut off a watch tells afterwards, or that something may have been missed; and it goes on.
pub async fn registry_036_a_partition_of_the_reader_loses_nothing_in_silence(
    harness: &Harness<dyn Registry>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let service = harness.name("service");
    let mut watch = watch(&*ours, &service).await?;
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    let _meanwhile = register(&*theirs, &service, 1).await?;
    harness.pass(SLACK).await;
    harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
    let first = told(harness, &mut watch).await?;
    check!(
        ["one at 1", "reset"].contains(&first.as_str()),
        "an instance joined while the reader was cut off, and it was told: {first}"
    );
    let _later = register(&*theirs, &service, 2).await?;
    lists(&*theirs, &service, 2)
        .await
        .premise("the same id replaces the instance")?;
    told_at_last(harness, &mut watch, 2).await
}
