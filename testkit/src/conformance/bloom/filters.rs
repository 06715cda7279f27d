//! Filters: how they are reserved, and what keeps them apart.

use infra_core::cache::{Bloom, BloomOptions};
use infra_core::error::ErrorKind;

use super::steps::{PRECISE, contains, put, reserve};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, SLACK, check, check_error};

/// A filter that was not reserved contains nothing, and asking it is no error.
pub async fn bloom_007_a_filter_that_was_not_reserved_contains_nothing(
    harness: &Harness<dyn Bloom>,
) -> Outcome {
    let cache = harness.client().await?;
    let found = cache.bloom_contains(&harness.name("absent"), b"a").await?;
    check!(!found, "a filter that was not reserved contains an item");
    Ok(())
}

/// Adding to a filter that was not reserved says that it is not found, and makes none.
pub async fn bloom_008_a_filter_that_was_not_reserved_takes_nothing(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("absent");
    for _ in 0..2 {
        check_error!(
            cache.bloom_add(&key, b"a").await,
            ErrorKind::NotFound,
            "adding to a filter that was not reserved"
        );
    }
    reserve(&*cache, &key).await?;
    let found = contains(&*cache, &key, b"a").await?;
    check!(
        !found,
        "what was refused is in the filter that was reserved later"
    );
    Ok(())
}

/// Reserving a filter again with the same options succeeds, and keeps what it contains.
pub async fn bloom_009_reserving_again_changes_nothing(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    reserve(&*cache, &key).await?;
    put(&*cache, &key, b"a").await?;
    cache.bloom_reserve(&key, PRECISE).await?;
    check!(
        contains(&*cache, &key, b"a").await?,
        "reserving again emptied the filter"
    );
    check!(
        !contains(&*cache, &key, b"b").await?,
        "reserving again filled the filter"
    );
    Ok(())
}

/// A filter that exists with another capacity or error rate is refused as existing, and keeps what it contains.
pub async fn bloom_010_other_options_are_refused(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    reserve(&*cache, &key).await?;
    put(&*cache, &key, b"a").await?;
    let (rate, capacity) = (PRECISE.error_rate, PRECISE.capacity);
    for other in [
        BloomOptions::new(rate, capacity * 2),
        BloomOptions::new(rate, 1),
        BloomOptions::new(rate * 2.0, capacity),
        BloomOptions::new(rate / 2.0, capacity),
    ] {
        check_error!(
            cache.bloom_reserve(&key, other).await,
            ErrorKind::AlreadyExists,
            "reserving {PRECISE:?} again with {other:?}"
        );
        check!(
            contains(&*cache, &key, b"a").await?,
            "a refused reservation emptied the filter"
        );
    }
    Ok(())
}

/// A capacity of zero, and an error rate that does not lie between 0 and 1, are refused before the server is asked.
pub async fn bloom_011_impossible_options_are_refused(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let rates = [
        0.0,
        -0.0,
        1.0,
        1.5,
        -0.5,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let mut impossible = vec![BloomOptions::new(0.01, 0)];
    impossible.extend(rates.map(|rate| BloomOptions::new(rate, 100)));
    let mut answers = Vec::new();
    for away in [false, true] {
        if away {
            harness.disturb(Disturbance::GoAway).await?;
        }
        for options in &impossible {
            answers.push((options, cache.bloom_reserve(&key, *options).await));
        }
    }
    harness.disturb(Disturbance::ComeBack).await?;
    for (options, answer) in answers {
        check_error!(
            answer,
            ErrorKind::InvalidArgument,
            "reserving a filter with {options:?}"
        );
    }
    let reserved = cache.bloom_reserve(&key, PRECISE).await;
    check!(reserved.is_ok(), "refused options left a filter: {reserved:?}");
    Ok(())
}

/// What one filter contains another does not.
pub async fn bloom_012_filters_are_apart(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let keys = ["key", "key ", "KEY", "key:1"].map(|suffix| harness.name(suffix));
    for key in &keys {
        reserve(&*cache, key).await?;
    }
    for key in &keys {
        check!(
            !contains(&*cache, key, b"a").await?,
            "{key:?} contains what was added to another"
        );
        put(&*cache, key, b"a").await?;
        check!(
            contains(&*cache, key, b"a").await?,
            "{key:?} does not contain what was added to it"
        );
    }
    Ok(())
}

/// Scopes keep the filters of one key apart, also a scope in another.
pub async fn bloom_013_scopes_keep_filters_apart(harness: &Harness<dyn Bloom>) -> Outcome {
    let (outer, inner) = (harness.name("outer"), harness.name("inner"));
    let paths: [&[&str]; 4] = [&[], &[&outer], &[&outer, &inner], &[&inner]];
    let key = harness.name("key");
    for path in paths {
        let cache = harness.scoped_client(path).await?;
        reserve(&*cache, &key).await?;
        check!(
            !cache.bloom_contains(&key, b"a").await?,
            "the filter in {path:?} contains what was added in another"
        );
        put(&*cache, &key, b"a").await?;
    }
    Ok(())
}

/// Others see what a client added, also after its shutdown.
pub async fn bloom_014_filters_outlive_their_writer(harness: &Harness<dyn Bloom>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    reserve(&*ours, &key).await?;
    put(&*ours, &key, b"a").await?;
    check!(
        contains(&*theirs, &key, b"a").await?,
        "another client does not see what was added"
    );
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    check!(
        contains(&*theirs, &key, b"a").await?,
        "an item is gone after its writer was shut down"
    );
    Ok(())
}
