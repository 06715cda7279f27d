//! Whoever follows a key: what bad values and deletion mean, and how a service starts while the centre is away.

use std::path::PathBuf;

use infra_core::config::{Follow, HotReload, Problems, Validate};
use infra_core::coordination::{ConfigCenter, ConfigCenterExt};
use serde::Deserialize;

use crate::conformance::config_centers::steps::put;
use crate::conformance::{Disturbance, Failure, Harness, Outcome, Premise, SLACK, check_eq};

#[derive(Debug, Deserialize)]
struct Limit {
    rate: u32,
}

impl Validate for Limit {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(self.rate > 0, "rate", "must be positive");
    }
}

/// A value that differs from every one that is written.
const DEFAULT: u32 = 9;

fn limit() -> Result<HotReload<Limit>, Failure> {
    HotReload::new(Limit { rate: DEFAULT }).premise("a default is valid")
}

async fn becomes(
    harness: &Harness<dyn ConfigCenter>,
    limit: &HotReload<Limit>,
    rate: u32,
    what: &str,
) -> Outcome {
    harness
        .eventually(SLACK * 20, what, async || limit.read(|limit| limit.rate) == rate)
        .await
}

/// Whoever follows a key keeps the last good value while bad ones come, learns why they are bad, and takes the next good one.
pub async fn watch_010_a_bad_value_does_not_replace_a_good_one(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("limit");
    put(&*center, &key, r#"{"rate": 1}"#).await?;
    let limit = limit()?;
    let following = limit
        .follow(center.clone(), key.as_str())
        .await
        .premise("a key is followed")?;
    harness
        .eventually(SLACK * 5, "following a key", async || following.is_connected())
        .await
        .premise("a key is watched")?;
    let generation = limit.generation();
    for bad in ["nonsense", r#"{"rate": 0}"#] {
        let before = limit.last_error().map(|rejection| rejection.error.to_string());
        put(&*center, &key, bad).await?;
        harness
            .eventually(SLACK * 5, "learning of a bad value", async || {
                limit
                    .last_error()
                    .is_some_and(|now| Some(now.error.to_string()) != before)
            })
            .await?;
        check_eq!(limit.read(|limit| limit.rate), 1, "the rate after a bad value");
        check_eq!(limit.generation(), generation, "how often the value was replaced");
    }
    put(&*center, &key, r#"{"rate": 5}"#).await?;
    harness
        .eventually(SLACK * 5, "taking a good value after bad ones", async || {
            limit.read(|limit| limit.rate) == 5 && limit.last_error().is_none()
        })
        .await
}

/// Whoever follows a key goes back to the default when it is deleted, also when the deletion is among what a watch missed.
pub async fn watch_018_deletion_goes_back_to_the_default(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("limit");
    put(&*theirs, &key, r#"{"rate": 1}"#).await?;
    let limit = limit()?;
    let following = limit
        .follow(ours.clone(), key.as_str())
        .await
        .premise("a key is followed")?;
    harness
        .eventually(SLACK * 5, "following a key", async || following.is_connected())
        .await
        .premise("a key is watched")?;
    theirs.delete(&key).await.premise("a key is deleted")?;
    becomes(harness, &limit, DEFAULT, "the default after a deletion")
        .await
        .premise("a deletion is told")?;
    put(&*theirs, &key, r#"{"rate": 2}"#).await?;
    becomes(harness, &limit, 2, "a value that is there again")
        .await
        .premise("a change is told")?;
    harness.disturb(Disturbance::LoseHistory).await?;
    theirs.delete(&key).await.premise("a key is deleted")?;
    becomes(
        harness,
        &limit,
        DEFAULT,
        "the default after a deletion that the watch missed",
    )
    .await
}

/// A file of this run that is removed with it.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Where it was never written there is nothing to remove.
        drop(std::fs::remove_file(&self.0));
    }
}

/// While the centre is away a service starts with the last good values of its snapshot, and takes what changed when it is back.
pub async fn watch_019_a_snapshot_stands_in_while_the_centre_is_away(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("limit");
    let process = std::process::id();
    let file = Temporary(std::env::temp_dir().join(harness.name(&format!("{process}.json"))));
    let follow = || Follow::new(&key).with_snapshot(&file.0);
    put(&*theirs, &key, r#"{"rate": 3}"#).await?;
    let before = limit()?;
    let following = before
        .follow(ours.clone(), follow())
        .await
        .premise("a key is followed")?;
    check_eq!(before.read(|limit| limit.rate), 3, "the rate that was read first");
    drop(following);

    harness.disturb(Disturbance::GoAway).await?;
    let after = limit()?;
    let following = after.follow(ours.clone(), follow()).await;
    harness.disturb(Disturbance::ComeBack).await?;
    let _following = following?;
    check_eq!(
        after.read(|limit| limit.rate),
        3,
        "the rate of a service that started while the centre was away"
    );
    harness
        .eventually(SLACK * 20, "writing after the centre came back", async || {
            put(&*theirs, &key, r#"{"rate": 4}"#).await.is_ok()
        })
        .await
        .premise("the centre is back")?;
    becomes(harness, &after, 4, "what changed since the snapshot").await
}
