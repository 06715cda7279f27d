//! What a watch tells.

use std::time::Duration;

use infra_core::capability::Capability;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite, Version};

use super::steps::{silent, told, watch_key};
use crate::conformance::config_centers::steps::put;
use crate::conformance::{Failure, Harness, Outcome, Premise, TimeControl, check, check_eq, declares};

/// A change, another one and a deletion are told in this order. Where the server keeps no history, one that another followed at once
/// may be left out; the last one never.
pub async fn watch_001_a_change_and_a_deletion_come_in_their_order(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    put(&*theirs, &key, "0").await?;
    let mut watch = watch_key(&*ours, &key).await?;
    put(&*theirs, &key, "1").await?;
    put(&*theirs, &key, "2").await?;
    theirs.delete(&key).await.premise("a key is deleted")?;
    let last = format!("{key} deleted");
    let mut expected = [format!("{key}=1"), format!("{key}=2"), last.clone()].into_iter();
    loop {
        let event = told(harness, &mut watch).await?;
        let next = if declares(&*ours, Capability::WatchFromRevision) {
            expected.next()
        } else {
            expected.find(|expected| *expected == event)
        };
        check_eq!(Some(&event), next.as_ref(), "what the watch told");
        if event == last {
            return Ok(());
        }
    }
}

/// Each change is told once, and what was there before the watch not at all.
pub async fn watch_002_each_change_is_told_once(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let root = harness.name("root/");
    let (a, b) = (format!("{root}a"), format!("{root}b"));
    put(&*center, &a, "0").await?;
    put(&*center, &b, "0").await?;
    let (_, mut watch) = center.list_and_watch(&root).await?;
    for (key, value) in [(&a, "1"), (&b, "2"), (&a, "3")] {
        put(&*center, key, value).await?;
        check_eq!(
            told(harness, &mut watch).await?,
            format!("{key}={value}"),
            "the change of {key}"
        );
    }
    silent(harness, &mut watch).await
}

/// The watch of a prefix tells of keys that are made later, and not of those beside it.
pub async fn watch_003_a_prefix_includes_keys_made_later(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let root = harness.name("ratelimit");
    put(&*center, &format!("{root}/first"), "0").await?;
    let (_, mut watch) = center.list_and_watch(&format!("{root}/")).await?;
    for tail in ["-foo", "", "/later", "/later/still"] {
        put(&*center, &format!("{root}{tail}"), "1").await?;
    }
    for tail in ["/later", "/later/still"] {
        check_eq!(
            told(harness, &mut watch).await?,
            format!("{root}{tail}=1"),
            "below {root}/"
        );
    }
    Ok(())
}

/// Changes elsewhere, refused writes, deletions of what is not there, and time are no events.
pub async fn watch_004_where_nothing_changes_nothing_is_told(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let root = harness.name("root/");
    let key = format!("{root}key");
    let version = put(&*center, &key, "0").await?;
    let (_, mut watch) = center.list_and_watch(&root).await?;
    put(&*center, &harness.name("elsewhere"), "1").await?;
    center
        .delete(&format!("{root}absent"))
        .await
        .premise("deleting nothing is no error")?;
    let stale = center.compare_and_set(&key, &1, Version(version.0 + 1_000)).await;
    stale.is_err().premise("a stale version is refused")?;
    harness
        .pass(match harness.time() {
            TimeControl::Virtual => Duration::from_secs(600),
            TimeControl::Real => Duration::from_secs(2),
        })
        .await;
    silent(harness, &mut watch).await
}

/// Each key that a transaction writes is told, once.
pub async fn watch_013_each_key_of_a_transaction_is_told(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    if !declares(&*center, Capability::ConfigTransactions) {
        return Err(Failure::skipped("this backend does not declare transactions"));
    }
    let root = harness.name("root/");
    let keys = ["a", "b", "c"].map(|tail| format!("{root}{tail}"));
    for key in &keys {
        put(&*center, key, "0").await?;
    }
    let (_, mut watch) = center.list_and_watch(&root).await?;
    let writes = keys.iter().map(|key| ConfigWrite::set(key.as_str(), "1"));
    center
        .write(writes.collect())
        .await
        .premise("three keys are written at once")?;
    let mut seen = Vec::new();
    for _ in &keys {
        seen.push(told(harness, &mut watch).await?);
    }
    seen.sort_unstable();
    check!(
        seen.iter()
            .zip(&keys)
            .all(|(seen, key)| *seen == format!("{key}=1")),
        "a transaction wrote {keys:?}, and the watch told {seen:?}"
    );
    Ok(())
}
