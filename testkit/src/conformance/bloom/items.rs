//! Items: what is added and what is contained.

use futures_util::future::try_join_all;
use infra_core::cache::{Bloom, BloomOptions};

use super::steps::{contains, put, reserve};
use crate::conformance::{Harness, Outcome, Premise, TimeControl, check, check_eq, limits};

/// How many items a filter is filled with: many where a call takes no time.
fn many(harness: &Harness<dyn Bloom>) -> u64 {
    match harness.time() {
        TimeControl::Virtual => 2_000,
        TimeControl::Real => 300,
    }
}

/// What was added is always contained, up to the capacity and beyond it.
pub async fn bloom_001_what_was_added_is_contained(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let (key, capacity) = (harness.name("key"), many(harness) / 2);
    let reserved = cache.bloom_reserve(&key, BloomOptions::new(0.01, capacity)).await;
    reserved.premise("a filter is reserved")?;
    for number in 0..capacity * 2 {
        put(&*cache, &key, format!("item {number}").as_bytes()).await?;
    }
    for number in 0..capacity * 2 {
        let item = format!("item {number}");
        check!(
            cache.bloom_contains(&key, item.as_bytes()).await?,
            "{item:?} of {} in a filter for {capacity} was added, and is not contained",
            capacity * 2
        );
    }
    Ok(())
}

/// Of new items no more are taken for seen than were asked for, in a filter that is full, with a margin for chance.
pub async fn bloom_002_few_new_items_are_taken_for_seen(harness: &Harness<dyn Bloom>) -> Outcome {
    const RATE: f64 = 0.02;
    let cache = harness.client().await?;
    let (key, capacity) = (harness.name("key"), many(harness));
    let reserved = cache.bloom_reserve(&key, BloomOptions::new(RATE, capacity)).await;
    reserved.premise("a filter is reserved")?;
    for number in 0..capacity {
        put(&*cache, &key, format!("item {number}").as_bytes()).await?;
    }
    let mut wrong = 0_u32;
    for number in 0..capacity {
        let new = format!("new {number}");
        wrong += u32::from(contains(&*cache, &key, new.as_bytes()).await?);
    }
    // Twice what is expected, and six more: for 300 and for 2000 items more than four deviations from the mean.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let most = capacity as f64 * RATE * 2.0 + 6.0;
    check!(
        f64::from(wrong) <= most,
        "{wrong} of {capacity} new items were taken for seen by a full filter with an error rate of {RATE}"
    );
    Ok(())
}

/// Adding an item says that it is new, and adding it again that it is not.
pub async fn bloom_003_adding_says_what_is_new(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    reserve(&*cache, &key).await?;
    for item in ["a", "b", "c"] {
        check!(
            !contains(&*cache, &key, item.as_bytes()).await?,
            "{item:?} is contained before it is added"
        );
        check!(
            cache.bloom_add(&key, item.as_bytes()).await?,
            "{item:?} was not new"
        );
        check!(
            !cache.bloom_add(&key, item.as_bytes()).await?,
            "{item:?} was new twice"
        );
    }
    Ok(())
}

/// Items are bytes: no two of these are taken for one another, the empty one neither.
pub async fn bloom_004_items_are_bytes(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    reserve(&*cache, &key).await?;
    let items: [&[u8]; 9] = [b"", b"\0", b"\0\0", b" ", b"a", b"a ", b"A", &[0xff], &[0xfe]];
    for item in items {
        check!(
            !cache.bloom_contains(&key, item).await?,
            "{item:?} is taken for one that was added"
        );
        put(&*cache, &key, item).await?;
        check!(
            cache.bloom_contains(&key, item).await?,
            "{item:?} was added, and is not contained"
        );
    }
    Ok(())
}

/// Of racers that add the same items each is new to exactly one, and none is lost.
pub async fn bloom_005_one_racer_adds_an_item(harness: &Harness<dyn Bloom>) -> Outcome {
    const RACERS: usize = 8;
    const ITEMS: u8 = 20;
    let key = harness.name("key");
    let mut racers = Vec::new();
    for _ in 0..RACERS {
        racers.push(harness.client().await?);
    }
    let first = racers.first().premise("there is a racer")?;
    reserve(&**first, &key).await?;
    for item in 0..ITEMS {
        let racing = racers
            .iter()
            .map(|cache| cache.bloom_add(&key, std::slice::from_ref(&item)));
        let answers = try_join_all(racing).await.premise("an item is added")?;
        let new = answers.into_iter().filter(|new| *new).count();
        check_eq!(new, 1, "to how many of {RACERS} racers item {item} was new");
    }
    for item in 0..ITEMS {
        let found = contains(&**first, &key, &[item]).await?;
        check!(found, "item {item} of racers is lost");
    }
    Ok(())
}

/// The largest item and the longest key that are declared are taken.
pub async fn bloom_006_the_largest_item_fits(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let (name, limits) = (harness.name(""), limits(&*cache));
    let key = format!(
        "{name}{}",
        "k".repeat(limits.max_key_bytes.saturating_sub(name.len()))
    );
    cache.bloom_reserve(&key, super::steps::PRECISE).await?;
    let item = vec![b'0'; limits.max_value_bytes];
    check!(
        cache.bloom_add(&key, &item).await?,
        "the largest item was not new"
    );
    check!(
        cache.bloom_contains(&key, &item).await?,
        "the largest item is not contained"
    );
    check!(
        !cache.bloom_contains(&key, &item[1..]).await?,
        "an item is taken for one that is longer by a byte"
    );
    Ok(())
}
