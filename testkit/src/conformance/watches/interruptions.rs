//! What interrupts a watch, and what ends it.

use futures_util::StreamExt;
use infra_core::capability::Capability;
use infra_core::coordination::{ConfigCenter, WatchScope};
use infra_core::error::{Error, ErrorKind};
use infra_core::watch::WatchEvent;

use super::steps::{next, told, told_at_last, watch_key};
use crate::conformance::config_centers::steps::{put, shown};
use crate::conformance::{Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq, declares};

/// More changes than a watch holds for a reader that does not read.
const FLOOD: u64 = 3_000;

/// A reader that is too slow is told how many events it missed, and the watch goes on; the writer never waits for it.
pub async fn watch_005_a_slow_reader_learns_how_much_it_missed(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    let mut watch = watch_key(&*ours, &key).await?;
    for number in 0..FLOOD {
        put(&*theirs, &key, &number.to_string()).await?;
    }
    let keeps_history = declares(&*ours, Capability::WatchFromRevision);
    let mut accounted = 0;
    while accounted < FLOOD {
        match next(harness, &mut watch).await? {
            WatchEvent::Put(_) if keeps_history => accounted += 1,
            // Of changes that followed each other at once the last one stands for all.
            WatchEvent::Put(entry) => {
                accounted = shown(&entry)
                    .parse::<u64>()
                    .map_or(accounted, |number| number + 1)
            }
            WatchEvent::Lagged { .. } if !keeps_history => break,
            WatchEvent::Lagged { missed } => accounted += missed,
            // Everything since is unknown; what comes later is not.
            WatchEvent::Reset => break,
            other => return Err(Failure::broken(format!("a slow reader was told {other:?}"))),
        }
    }
    put(&*theirs, &key, "-1").await?;
    told_at_last(harness, &mut watch, "-1").await
}

/// A watch whose history was lost says so, and goes on with what changes from then on.
pub async fn watch_006_lost_history_is_told_and_the_watch_goes_on(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    let mut watch = watch_key(&*ours, &key).await?;
    harness.disturb(Disturbance::LoseHistory).await?;
    check_eq!(
        told(harness, &mut watch).await?,
        "reset",
        "after the history was lost"
    );
    put(&*theirs, &key, "1").await?;
    check_eq!(
        told(harness, &mut watch).await?,
        format!("{key}=1"),
        "after the reset"
    );
    Ok(())
}

/// A watch that cannot go on says why in the words of the server, and ends.
pub async fn watch_007_the_end_says_why(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let mut watch = watch_key(&*center, &harness.name("key")).await?;
    let error = Error::new(ErrorKind::PermissionDenied, "the role was revoked");
    harness.disturb(Disturbance::CloseWatches { error }).await?;
    match next(harness, &mut watch).await? {
        WatchEvent::Closed(error) => {
            check_eq!(error.kind(), ErrorKind::PermissionDenied, "why the watch ended");
            check!(
                error.message().contains("the role was revoked"),
                "the watch ended with {error}"
            );
        }
        other => return Err(Failure::broken(format!("a watch that was closed told {other:?}"))),
    }
    let end = harness
        .within(SLACK, "the end of a closed watch", watch.next())
        .await?;
    check!(end.is_none(), "after its end the watch told {end:?}");
    Ok(())
}

/// A watch from a revision that the server never reached begins with a reset: that revision is of another life.
pub async fn watch_012_a_revision_never_reached_begins_with_a_reset(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let center = harness.client().await?;
    let scope = WatchScope::Key(harness.name("key"));
    let (_, revision) = center.read(&scope).await.premise("a key is read")?;
    let mut watch = center.watch(&scope, revision + 1_000_000).await?;
    check_eq!(
        told(harness, &mut watch).await?,
        "reset",
        "from a revision never reached"
    );
    Ok(())
}

/// A watch from a revision whose history is gone begins with a reset, and goes on with what changes from then on.
pub async fn watch_016_a_forgotten_revision_begins_with_a_reset(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    put(&*theirs, &key, "1").await?;
    let scope = WatchScope::Key(key.clone());
    let (_, revision) = ours.read(&scope).await.premise("a key is read")?;
    put(&*theirs, &key, "2").await?;
    harness.disturb(Disturbance::LoseHistory).await?;
    let mut watch = ours.watch(&scope, revision).await?;
    check_eq!(
        told(harness, &mut watch).await?,
        "reset",
        "from a revision whose history is gone"
    );
    put(&*theirs, &key, "3").await?;
    told_at_last(harness, &mut watch, "3").await
}

/// Of what changed while its client was cut off a watch tells afterwards, or that something may have been missed; and it goes on.
pub async fn watch_017_a_partition_of_the_reader_loses_nothing_in_silence(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    let mut watch = watch_key(&*ours, &key).await?;
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    put(&*theirs, &key, "1").await?;
    harness.pass(SLACK).await;
    harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
    let first = told(harness, &mut watch).await?;
    check!(
        [format!("{key}=1"), "reset".to_owned()].contains(&first),
        "{key} was set while the reader was cut off, and it was told: {first}"
    );
    put(&*theirs, &key, "2").await?;
    told_at_last(harness, &mut watch, "2").await
}

/// When the server was away and is back, the watch tells what changed then, or that something may have been missed.
pub async fn watch_014_an_absence_of_the_server_does_not_end_a_watch(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.bare_client().await?);
    let key = harness.name("key");
    let mut watch = watch_key(&*ours, &key).await?;
    harness.disturb(Disturbance::GoAway).await?;
    harness.pass(SLACK).await;
    harness.disturb(Disturbance::ComeBack).await?;
    harness
        .eventually(SLACK * 5, "writing after the server came back", async || {
            put(&*theirs, &key, "1").await.is_ok()
        })
        .await
        .premise("the server is back")?;
    told_at_last(harness, &mut watch, "1").await
}

/// Shutdown ends the watches of its client, which are told so, and no others.
pub async fn watch_015_shutdown_ends_the_watches_of_its_client(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    let (mut closed, mut open) = (watch_key(&*ours, &key).await?, watch_key(&*theirs, &key).await?);
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    check_eq!(
        told(harness, &mut closed).await?,
        "closed as Closed",
        "the watch of that client"
    );
    put(&*theirs, &key, "1").await?;
    check_eq!(
        told(harness, &mut open).await?,
        format!("{key}=1"),
        "the watch of another client"
    );
    Ok(())
}
