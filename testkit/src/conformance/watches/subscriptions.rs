//! How a watch begins, and what dropping it leaves.

use infra_core::coordination::{ConfigCenter, ConfigCenterExt};

use super::steps::{told, told_at_last, watch_key};
use crate::conformance::answers::unsubscribed_when_dropped;
use crate::conformance::config_centers::steps::{put, shown};
use crate::conformance::{Harness, Outcome, TimeControl, check_eq};

/// A watch that is dropped is unsubscribed at the server, without waiting for a change.
pub async fn watch_008_a_dropped_watch_is_unsubscribed(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    unsubscribed_when_dropped(harness, watch_key(&*center, &key)).await
}

/// Whatever is written between the reading and the watching is in one of them, in each of a thousand races.
pub async fn watch_009_nothing_is_lost_between_reading_and_watching(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let races = match harness.time() {
        TimeControl::Virtual => 1_000,
        TimeControl::Real => 200,
    };
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let mut random = fastrand::Rng::with_seed(harness.seed());
    for race in 0..races {
        let root = harness.name(&format!("race/{race}/"));
        let key = format!("{root}key");
        put(&*theirs, &key, "0").await?;
        let (theirs, turns) = (theirs.clone(), random.u8(0..4));
        let writing = tokio::spawn(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            put(&*theirs, &key, "1").await
        });
        for _ in 0..random.u8(0..4) {
            tokio::task::yield_now().await;
        }
        let (entries, mut watch) = ours.list_and_watch(&root).await?;
        if entries.iter().all(|entry| shown(entry) != "1") {
            told_at_last(harness, &mut watch, "1").await?;
        }
        writing.await??;
    }
    Ok(())
}

/// Of three watches of one key, dropping one leaves the other two.
pub async fn watch_011_dropping_one_of_three_leaves_two(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    let mut kept = [watch_key(&*center, &key).await?, watch_key(&*center, &key).await?];
    let dropped = watch_key(&*center, &key).await?;
    drop(dropped);
    tokio::task::yield_now().await;
    put(&*center, &key, "1").await?;
    for watch in &mut kept {
        check_eq!(
            told(harness, watch).await?,
            format!("{key}=1"),
            "one of the two that were kept"
        );
    }
    Ok(())
}
