//! One key: its value, its version, and writes under a condition.

use std::sync::Arc;

use bytes::Bytes;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite, Version, WatchScope};
use infra_core::error::ErrorKind;

use super::steps::{put, text};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

/// A key or a prefix of which nothing was ever written gives nothing, and no error.
pub async fn config_001_an_absent_key_is_no_error(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let name = harness.name("absent");
    for scope in [WatchScope::Key(name.clone()), WatchScope::Prefix(name)] {
        let (entries, _) = center.read(&scope).await?;
        check_eq!(entries, [], "what was never written, read as {scope:?}");
    }
    Ok(())
}

/// Any bytes come back as they were: none, zeros, line ends, what is no UTF-8.
pub async fn config_002_bytes_come_back_as_they_were(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("bytes");
    let all: Vec<u8> = (0..=255).collect();
    for value in [&b""[..], b"\0", b"\r\n ", b"\xff\xfe", &all] {
        ours.write(vec![ConfigWrite::set(
            key.as_str(),
            Bytes::copy_from_slice(value),
        )])
        .await?;
        let entry = theirs.entry(&key).await?;
        check!(
            entry.as_ref().is_some_and(|entry| entry.value == value),
            "{} bytes were written, and {entry:?} was read",
            value.len()
        );
    }
    Ok(())
}

/// Each new value replaces the one before under a greater version, which the write gives and the entry has; it is never 0.
pub async fn config_003_versions_grow_and_are_never_zero(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    let mut last = Version::ABSENT;
    for value in ["1", "2", "3"] {
        let version = put(&*center, &key, value).await?;
        check!(version > last, "version {version} followed {last}");
        let entry = center.entry(&key).await?.premise("what was written is there")?;
        check_eq!(
            entry.version,
            version,
            "the version of the entry, and what the write gave"
        );
        last = version;
    }
    Ok(())
}

/// A write that expects the current version is made; 0 expects that the key is not there.
pub async fn config_004_the_current_version_can_be_replaced(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    let mut version = center.compare_and_set(&key, &0, Version::ABSENT).await?;
    for value in 1..=3 {
        version = center.compare_and_set(&key, &value, version).await?;
        check_eq!(
            center.get::<i32>(&key).await?,
            Some(value),
            "the value after its write"
        );
    }
    let deletion = ConfigWrite::compare_and_delete(key.as_str(), version);
    center.write(vec![deletion]).await?;
    Ok(())
}

/// A write that expects another version than the current one is a conflict, and the value stays.
pub async fn config_005_a_stale_version_writes_nothing(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let (key, absent) = (harness.name("key"), harness.name("absent"));
    let first = put(&*center, &key, "1").await?;
    put(&*center, &key, "2").await?;
    for (key, stale) in [(&key, Version::ABSENT), (&key, first), (&absent, first)] {
        check_error!(
            center.compare_and_set(key, &3, stale).await,
            ErrorKind::Conflict,
            "a write of {key} that expects version {stale}"
        );
    }
    check_eq!(
        text(&*center, &key).await?.as_deref(),
        Some("2"),
        "after refused writes"
    );
    check_eq!(text(&*center, &absent).await?, None, "a key that was not there");
    Ok(())
}

/// A conflict says which key has another version than expected, and which version that is.
pub async fn config_006_a_conflict_names_the_key_and_its_version(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    let first = put(&*center, &key, "1").await?;
    let second = put(&*center, &key, "2").await?;
    let refused = center.compare_and_set(&key, &3, first).await;
    let conflict = refused.err().filter(|error| error.kind() == ErrorKind::Conflict);
    let said = conflict.premise("a stale version is a conflict")?;
    for part in [&key, &second.to_string()] {
        check!(
            said.message().contains(part),
            "a conflict over {key} at version {second} says {:?}",
            said.message()
        );
    }
    Ok(())
}

/// A deleted key is gone; deleting it again, or one that never was, is no error.
pub async fn config_007_deleting_twice_is_no_error(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    put(&*center, &key, "1").await?;
    for round in 1..=2 {
        center.delete(&key).await?;
        check_eq!(text(&*center, &key).await?, None, "a key after deletion {round}");
    }
    center.delete(&harness.name("never")).await?;
    Ok(())
}

/// A deletion that expects another version than the current one is a conflict, and the key stays.
pub async fn config_008_a_stale_version_deletes_nothing(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    let first = put(&*center, &key, "1").await?;
    put(&*center, &key, "2").await?;
    check_error!(
        center
            .write(vec![ConfigWrite::compare_and_delete(key.as_str(), first)])
            .await,
        ErrorKind::Conflict,
        "a deletion that expects version {first}"
    );
    check_eq!(
        text(&*center, &key).await?.as_deref(),
        Some("2"),
        "after a refused deletion"
    );
    Ok(())
}

/// A key that is made again takes no old version again, so that whoever knew the old one changes nothing.
pub async fn config_009_a_key_made_again_is_not_the_old_one(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    let old = put(&*center, &key, "1").await?;
    center.delete(&key).await.premise("a key is deleted")?;
    let new = put(&*center, &key, "2").await?;
    check!(
        new > old,
        "a key of version {old} was made again with version {new}"
    );
    let stale = center.compare_and_set(&key, &3, old).await;
    check!(
        stale.is_err(),
        "an old version replaced a key that was made again"
    );
    Ok(())
}

/// Of many who read a counter and write it back under the version they read, none undoes what another did.
pub async fn config_010_racers_lose_no_update(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    const RACERS: u64 = 16;
    let key = harness.name("counter");
    let center = harness.client().await?;
    put(&*center, &key, "0").await?;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..RACERS {
        let (center, key) = (harness.client().await?, key.clone());
        racers.spawn(async move { count_up(center, &key).await });
    }
    while let Some(racer) = racers.join_next().await {
        racer??;
    }
    check_eq!(
        center.get::<u64>(&key).await?,
        Some(RACERS),
        "a counter that {RACERS} counted up"
    );
    Ok(())
}

async fn count_up(center: Arc<dyn ConfigCenter>, key: &str) -> Outcome {
    loop {
        let counted = center
            .get_versioned::<u64>(key)
            .await
            .premise("a counter is read")?;
        let (count, version) = counted.premise("the counter is there")?;
        // Between reading and writing others have their turn.
        tokio::task::yield_now().await;
        match center.compare_and_set(key, &(count + 1), version).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(Failure::from(error)),
        }
    }
}
