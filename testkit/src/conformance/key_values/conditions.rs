//! Writes that depend on what is there: if absent, if equal, swapped.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use infra_core::Ttl;
use infra_core::cache::{CompareAndSet, Expected, KeyValue};

use super::steps::{put, put_for, text, time_left};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, long_lease};

const RACERS: usize = 16;

/// Of many who set a key if it is absent exactly one does, and its value is the one that stays.
pub async fn cache_004_one_racer_finds_the_key_absent(harness: &Harness<dyn KeyValue>) -> Outcome {
    let racers = clients(harness, 4).await?;
    for round in 0..8 {
        let key = harness.name(&format!("key{round}"));
        let races = (0..RACERS).map(|racer| {
            let (cache, key) = (&racers[racer % racers.len()], &key);
            async move {
                cache
                    .set_if_absent(key, racer.to_string().into(), Ttl::Never)
                    .await
            }
        });
        let mut winners = Vec::new();
        for (racer, won) in join_all(races).await.into_iter().enumerate() {
            if won? {
                winners.push(racer.to_string());
            }
        }
        check_eq!(winners.len(), 1, "how many of {RACERS} found the key absent");
        check_eq!(
            text(&*racers[0], &key).await?,
            winners.pop(),
            "the winner's value"
        );
    }
    Ok(())
}

/// A write that expects what is there is done, be it a value or nothing.
pub async fn cache_005_what_is_expected_is_replaced(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    for (expected, value) in [
        (Expected::Absent, "1"),
        (Expected::Value("1".into()), "2"),
        (Expected::Value("2".into()), ""),
        (Expected::Value(Bytes::new()), "3"),
    ] {
        let done = cache
            .compare_and_set(&key, expected.clone(), value.into(), Ttl::Never)
            .await?;
        check_eq!(
            done,
            CompareAndSet::Stored,
            "setting {value:?} where {expected:?} is"
        );
        check_eq!(
            text(&*cache, &key).await?.as_deref(),
            Some(value),
            "the new value"
        );
    }
    Ok(())
}

/// A write that expects something else changes nothing, and says what is there.
pub async fn cache_006_a_mismatch_says_what_is_there(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (key, absent) = (harness.name("key"), harness.name("absent"));
    put(&*cache, &key, "1").await?;
    for (key, expected, current) in [
        (&key, Expected::Value("0".into()), Some("1")),
        (&key, Expected::Value(Bytes::new()), Some("1")),
        (&key, Expected::Absent, Some("1")),
        (&absent, Expected::Value("1".into()), None),
        (&absent, Expected::Value(Bytes::new()), None),
    ] {
        let done = cache
            .compare_and_set(key, expected.clone(), "2".into(), Ttl::Never)
            .await?;
        let there = match done {
            CompareAndSet::Mismatch { current } => current,
            other => {
                return Err(Failure::broken(format!(
                    "{other:?} where {expected:?} was expected and {current:?} was there"
                )));
            }
        };
        check_eq!(
            there,
            current.map(Bytes::from),
            "what a mismatch with {expected:?} says"
        );
        check_eq!(
            text(&*cache, key).await?.as_deref(),
            current,
            "the value after a mismatch"
        );
    }
    Ok(())
}

/// Only who knows the value deletes the key; another value, a part of it or more than it deletes nothing.
pub async fn cache_008_only_the_owner_deletes(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, "owner-1").await?;
    for foreign in ["owner-2", "owner", "owner-11", ""] {
        check!(
            !cache.compare_and_delete(&key, foreign.into()).await?,
            "the key of owner-1 was deleted by {foreign:?}"
        );
        check_eq!(
            text(&*cache, &key).await?.as_deref(),
            Some("owner-1"),
            "after {foreign:?} tried"
        );
    }
    check!(
        cache.compare_and_delete(&key, "owner-1".into()).await?,
        "its owner could not delete the key"
    );
    check_eq!(text(&*cache, &key).await?, None, "after its owner deleted it");
    check!(
        !cache.compare_and_delete(&key, "owner-1".into()).await?,
        "a key that was deleted was deleted again"
    );
    Ok(())
}

/// Who owned a key that was deleted and made again can neither change nor delete the new one.
pub async fn cache_009_a_stale_owner_is_harmless(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, "first").await?;
    cache.delete(&[&key]).await.premise("a key is deleted")?;
    put(&*cache, &key, "second").await?;
    check!(
        !cache.compare_and_delete(&key, "first".into()).await?,
        "the owner of the old key deleted the new one"
    );
    let changed = cache
        .compare_and_set(&key, Expected::Value("first".into()), "third".into(), Ttl::Never)
        .await?;
    check!(
        matches!(changed, CompareAndSet::Mismatch { .. }),
        "the owner of the old key changed the new one"
    );
    check_eq!(
        text(&*cache, &key).await?.as_deref(),
        Some("second"),
        "the new key's value"
    );
    Ok(())
}

/// Of many who read, add one and write back what they read, none overwrites another.
pub async fn cache_028_racers_lose_no_update(harness: &Harness<dyn KeyValue>) -> Outcome {
    let racers = clients(harness, 4).await?;
    let key = &harness.name("key");
    put(&*racers[0], key, "0").await?;
    let races = racers.iter().map(|cache| async move {
        for _ in 0..8 {
            add_one(&**cache, key).await?;
        }
        Ok::<(), Failure>(())
    });
    for raced in join_all(races).await {
        raced?;
    }
    check_eq!(
        text(&*racers[0], key).await?.as_deref(),
        Some("32"),
        "the sum of what four racers added eight times"
    );
    Ok(())
}

async fn add_one(cache: &dyn KeyValue, key: &str) -> Outcome {
    // Each failed attempt is another racer's success.
    for _ in 0..1_000 {
        let current = text(cache, key).await?.premise("the key stays")?;
        let sum: u64 = current.parse().ok().premise("the value is a number")?;
        let done = cache
            .compare_and_set(
                key,
                Expected::Value(current.into()),
                (sum + 1).to_string().into(),
                Ttl::Never,
            )
            .await
            .premise("a value is compared and set")?;
        if done == CompareAndSet::Stored {
            return Ok(());
        }
    }
    Err(Failure::broken(
        "a thousand attempts, and each found another value",
    ))
}

/// Swapping hands every value to exactly one: of many who swap at once, none gets what another got, and none is lost.
pub async fn cache_033_each_value_is_swapped_out_once(harness: &Harness<dyn KeyValue>) -> Outcome {
    let racers = clients(harness, 4).await?;
    let key = harness.name("key");
    let first = racers[0].get_set(&key, "first".into(), Ttl::Never).await?;
    check_eq!(first, None, "what was there before the first value");
    let swaps = (0..RACERS).map(|racer| {
        let (cache, key) = (&racers[racer % racers.len()], &key);
        async move { cache.get_set(key, racer.to_string().into(), Ttl::Never).await }
    });
    let mut seen = Vec::new();
    for swapped in join_all(swaps).await {
        let value = swapped?.premise("there is always a value")?;
        seen.push(String::from_utf8_lossy(&value).into_owned());
    }
    seen.push(text(&*racers[0], &key).await?.premise("the last value stays")?);
    let distinct: BTreeSet<&String> = seen.iter().collect();
    check_eq!(
        distinct.len(),
        RACERS + 1,
        "how many different values were handed out of {seen:?}"
    );
    Ok(())
}

/// A conditional write that is not done changes nothing: neither the value nor the time that it has to live.
pub async fn cache_044_what_is_not_done_changes_nothing(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (key, ttl) = (harness.name("key"), long_lease(&*cache));
    put_for(&*cache, &key, "1", ttl).await?;
    let absent = cache.set_if_absent(&key, "2".into(), Ttl::Never).await;
    (!absent.premise("a value is stored if absent")?).premise("a key with a value is not absent")?;
    let compared = cache
        .compare_and_set(&key, Expected::Value("0".into()), "2".into(), Ttl::Never)
        .await;
    let mismatch = compared.premise("a value is compared and set")? != CompareAndSet::Stored;
    mismatch.premise("another value is a mismatch")?;
    let deleted = cache.compare_and_delete(&key, "0".into()).await;
    (!deleted.premise("a value is compared and deleted")?).premise("another value deletes nothing")?;
    check_eq!(text(&*cache, &key).await?.as_deref(), Some("1"), "the value");
    let left = time_left(&*cache, &key).await?;
    check!(
        matches!(left, Some(Ttl::After(left)) if left <= ttl),
        "a key that lives for {ttl:?} has {left:?} left after writes that were not done"
    );
    Ok(())
}

async fn clients(harness: &Harness<dyn KeyValue>, count: usize) -> Result<Vec<Arc<dyn KeyValue>>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(harness.client().await?);
    }
    Ok(clients)
}
