//! What is cached, and for how long.

use std::time::Duration;

use infra_core::Ttl;
use infra_core::cache::LoadOptions;

use super::MakesLoaders;
use super::steps::{Source, failure, filled, lifetime, loader, over, process};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq};

/// After a loader's error the next caller loads, and is given what is there then.
pub async fn cache_021_an_error_is_not_cached(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source) = (harness.name("value"), Source::default());
    let failed = loader.number(&key, source.fail()).await;
    (failed.is_err_and(|error| error.kind() == failure().kind())).premise("a loader's error is given")?;
    let next = loader.number(&key, source.number()).await?;
    check_eq!(next, Some(2), "what the caller after an error was given");
    Ok(())
}

/// A value is loaded once in its time, and anew after it.
pub async fn load_009_a_value_is_kept_for_its_time_and_no_longer(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (process, loader, lifetime) = process(harness, |options, _| options).await?;
    let (key, source) = (harness.name("value"), Source::default());
    filled(&*loader, &key, &source).await?;
    harness.pass(lifetime / 2).await;
    let within = loader.number(&key, source.number()).await?;
    check_eq!(within, Some(1), "what was given half a lifetime after the load");
    harness.pass(over(&*process, lifetime) - lifetime / 2).await;
    let after = loader.number(&key, source.number()).await?;
    check_eq!(after, Some(2), "what was given when its time was over");
    Ok(())
}

/// That there is no value is remembered for the time that is set for it, and no longer.
pub async fn load_010_absence_is_remembered_for_a_time_of_its_own(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (process, loader, lifetime) = process(harness, |options, lifetime| {
        options.with_negative_ttl(lifetime / 2)
    })
    .await?;
    let (key, source) = (harness.name("value"), Source::default());
    let absent = loader.number(&key, source.none()).await;
    (absent.premise("absence is no error")?.is_none()).premise("what is absent is not given")?;
    let again = loader.number(&key, source.number()).await?;
    check_eq!(again, None, "what was given while absence is remembered");
    harness.pass(over(&*process, lifetime / 2)).await;
    let after = loader.number(&key, source.number()).await?;
    check_eq!(after, Some(2), "what was given when the time of absence was over");
    Ok(())
}

/// Where absence is to be remembered for no time, every caller loads.
pub async fn load_011_absence_is_not_remembered_if_its_time_is_zero(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) =
        process(harness, |options, _| options.with_negative_ttl(Duration::ZERO)).await?;
    let (key, source) = (harness.name("value"), Source::default());
    let absent = loader.number(&key, source.none()).await;
    (absent.premise("absence is no error")?.is_none()).premise("what is absent is not given")?;
    let next = loader.number(&key, source.number()).await?;
    check_eq!(
        next,
        Some(2),
        "what was given after an absence that is not remembered"
    );
    Ok(())
}

/// Values that are loaded together do not expire together: each time is shortened by a random part of the share, and never lengthened.
pub async fn load_012_times_are_shortened_at_random_within_their_bounds(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    const VALUES: u32 = 50;
    let process = harness.client().await?;
    let whole = lifetime(harness, &*process);
    let loader = loader(&*process, LoadOptions::new(whole).with_jitter(0.5))?;
    let (mut shortest, mut longest) = (whole * 2, Duration::ZERO);
    // Loading all of them takes a time too, where time really passes or calls are repeated; each is looked at as soon as it is there.
    for number in 0..VALUES {
        let (key, source) = (harness.name(&format!("value{number}")), Source::default());
        filled(&*loader, &key, &source).await?;
        let ttl = process.cache().ttl(&key).await;
        let ttl = ttl.premise("the cache tells how long a value is left")?;
        let left = ttl.and_then(Ttl::duration);
        let left = left.premise("what was loaded is in the cache, for a time")?;
        (shortest, longest) = (shortest.min(left), longest.max(left));
    }
    let late = crate::conformance::limits(&*process).ttl_granularity + whole / 20;
    check!(
        shortest + late >= whole / 2 && longest <= whole + late,
        "with half of {whole:?} at chance, times are from {shortest:?} to {longest:?}"
    );
    check!(
        longest - shortest > whole / 5,
        "with half of {whole:?} at chance, {VALUES} times lie within {:?}",
        longest - shortest
    );
    Ok(())
}

/// Keys are taken as they are: no two share a value or a load.
pub async fn load_013_similar_keys_are_different_keys(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let source = Source::default();
    let keys = [
        "user:a",
        "user:A",
        "user:a ",
        "user:a/",
        "user:a:",
        "user::a",
        "user:\u{e4}",
    ];
    for (key, expected) in keys.iter().zip(1..) {
        let given = loader.number(&harness.name(key), source.number()).await;
        let given = given.premise("what is not cached is loaded")?;
        check_eq!(
            given,
            Some(expected),
            "the first value of {key:?}, after those like it"
        );
    }
    Ok(())
}
