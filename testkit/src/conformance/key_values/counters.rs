//! Numbers stored as decimal text.

use futures_util::future::join_all;
use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_core::error::ErrorKind;

use super::steps::{put, put_for, text, time_left};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error, long_lease};

/// An absent number counts as 0; every addition gives the sum and leaves it as decimal text.
pub async fn cache_023_an_absent_number_counts_as_zero(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("number");
    for (difference, sum) in [(5, 5), (0, 5), (-8, -3), (i64::MAX, i64::MAX - 3)] {
        check_eq!(
            cache.incr_by(&key, difference).await?,
            sum,
            "the sum after adding {difference}"
        );
        check_eq!(text(&*cache, &key).await?, Some(sum.to_string()), "its text");
    }
    let key = harness.name("text");
    put(&*cache, &key, "-9223372036854775808").await?;
    check_eq!(
        cache.incr_by(&key, 1).await?,
        i64::MIN + 1,
        "the least number and 1"
    );
    Ok(())
}

/// What is not a 64-bit integer in decimal text is no number: adding to it is a conflict and changes nothing.
pub async fn cache_024_what_is_no_number_is_refused(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    for (index, value) in [
        "",
        "ten",
        "12 apples",
        "1.5",
        "0x10",
        "9223372036854775808",
        "1e3",
    ]
    .into_iter()
    .enumerate()
    {
        let key = harness.name(&format!("key{index}"));
        put(&*cache, &key, value).await?;
        check_error!(
            cache.incr_by(&key, 1).await,
            ErrorKind::Conflict,
            "adding to {value:?}"
        );
        check_eq!(
            text(&*cache, &key).await?.as_deref(),
            Some(value),
            "the value after that"
        );
    }
    Ok(())
}

/// A sum that would not fit into 64 bits is a conflict and changes nothing: it neither wraps nor stops at the end.
pub async fn cache_025_a_sum_that_does_not_fit_is_refused(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    for (index, (number, difference)) in [
        (i64::MAX, 1),
        (i64::MAX - 1, i64::MAX),
        (i64::MIN, -1),
        (-2, i64::MIN),
    ]
    .into_iter()
    .enumerate()
    {
        let key = harness.name(&format!("key{index}"));
        put(&*cache, &key, &number.to_string()).await?;
        check_error!(
            cache.incr_by(&key, difference).await,
            ErrorKind::Conflict,
            "adding {difference} to {number}"
        );
        check_eq!(
            text(&*cache, &key).await?,
            Some(number.to_string()),
            "the number after that"
        );
    }
    Ok(())
}

/// Adding to a number leaves its time as it was; a new number never expires.
pub async fn cache_026_adding_keeps_the_time_to_live(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (key, new, ttl) = (harness.name("key"), harness.name("new"), long_lease(&*cache));
    put_for(&*cache, &key, "1", ttl).await?;
    for number in [&key, &new] {
        cache.incr_by(number, 1).await.premise("a number is added to")?;
    }
    let left = time_left(&*cache, &key).await?;
    check!(
        matches!(left, Some(Ttl::After(left)) if left <= ttl),
        "a number for {ttl:?} says {left:?} after an addition"
    );
    check_eq!(
        time_left(&*cache, &new).await?,
        Some(Ttl::Never),
        "the time of a new number"
    );
    Ok(())
}

/// Of many additions at once none is lost, and no two give the same sum.
pub async fn cache_027_racing_additions_all_count(harness: &Harness<dyn KeyValue>) -> Outcome {
    let (one, two) = (harness.client().await?, harness.client().await?);
    let key = &harness.name("key");
    let additions = (0..32).map(|number| {
        let cache = if number % 2 == 0 { &one } else { &two };
        async move { cache.incr_by(key, 1).await }
    });
    let mut sums = Vec::new();
    for sum in join_all(additions).await {
        sums.push(sum?);
    }
    sums.sort_unstable();
    sums.dedup();
    check_eq!(sums.len(), 32, "how many different sums 32 additions gave");
    check_eq!(
        text(&*one, key).await?.as_deref(),
        Some("32"),
        "the number after them"
    );
    Ok(())
}
