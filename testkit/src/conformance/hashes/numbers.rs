//! Numbers in fields.

use bytes::Bytes;
use futures_util::future::try_join_all;
use infra_core::cache::Hashes;
use infra_core::error::ErrorKind;

use crate::conformance::{Failure, Harness, Outcome, Premise, check_eq, check_error};

async fn put(cache: &dyn Hashes, key: &str, value: &str) -> Result<(), Failure> {
    let set = cache.hash_set(key, &[("n", Bytes::from(value.to_owned()))]).await;
    set.map(drop).premise("a field is set")
}

async fn value(cache: &dyn Hashes, key: &str) -> Result<Option<String>, Failure> {
    let value = cache.hash_get(key, "n").await.premise("a field is read")?;
    Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

/// An absent field, also of an absent hash, counts as zero; the sum is answered, and kept as decimal text.
pub async fn hash_010_an_absent_number_counts_as_zero(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    for (difference, sum) in [(5, 5), (-7, -2), (0, -2)] {
        check_eq!(
            cache.hash_incr_by(&key, "n", difference).await?,
            sum,
            "after adding {difference}"
        );
        check_eq!(
            value(&*cache, &key).await?,
            Some(sum.to_string()),
            "what is kept after adding {difference}"
        );
    }
    check_eq!(
        cache.hash_incr_by(&key, "m", -1).await?,
        -1,
        "an absent field of a hash that is there"
    );
    Ok(())
}

/// Adding to what is no 64-bit integer is a conflict that changes nothing.
pub async fn hash_011_what_is_no_number_is_refused(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    for text in ["", "one", "1.5", " 1", "1 ", "9223372036854775808"] {
        put(&*cache, &key, text).await?;
        check_error!(
            cache.hash_incr_by(&key, "n", 1).await,
            ErrorKind::Conflict,
            "adding to {text:?}"
        );
        check_eq!(
            value(&*cache, &key).await?.as_deref(),
            Some(text),
            "the value after a refused addition"
        );
    }
    Ok(())
}

/// A sum that is no 64-bit integer is a conflict that changes nothing; the least and the greatest are reached.
pub async fn hash_012_a_sum_that_does_not_fit_is_refused(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    for (end, step) in [(i64::MAX, 1), (i64::MIN, -1)] {
        put(&*cache, &key, &(end - step).to_string()).await?;
        check_eq!(
            cache.hash_incr_by(&key, "n", step).await?,
            end,
            "the sum at the end of the numbers"
        );
        check_error!(
            cache.hash_incr_by(&key, "n", step).await,
            ErrorKind::Conflict,
            "adding {step} to {end}"
        );
        check_eq!(
            value(&*cache, &key).await?,
            Some(end.to_string()),
            "the value after a refused addition"
        );
    }
    Ok(())
}

/// Of racing additions all count, and no two are answered the same sum.
pub async fn hash_013_racing_additions_all_count(harness: &Harness<dyn Hashes>) -> Outcome {
    const RACERS: i64 = 8;
    const EACH: i64 = 10;
    let key = harness.name("key");
    let mut racers = Vec::new();
    for _ in 0..RACERS {
        racers.push(harness.client().await?);
    }
    let racing = racers.iter().map(|cache| async {
        let mut sums = Vec::new();
        for _ in 0..EACH {
            sums.push(cache.hash_incr_by(&key, "n", 1).await?);
        }
        Ok::<_, infra_core::Error>(sums)
    });
    let mut sums = try_join_all(racing)
        .await
        .premise("a number is added to")?
        .concat();
    sums.sort_unstable();
    let expected: Vec<i64> = (1..=RACERS * EACH).collect();
    check_eq!(sums, expected, "the sums that {RACERS} racers were answered");
    Ok(())
}
