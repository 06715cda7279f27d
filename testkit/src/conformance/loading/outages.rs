//! A cache that is away, and entries that are of no use.

use std::sync::Arc;

use bytes::Bytes;
use infra_core::intercept::{Fault, Faults, Stack};
use infra_core::{ErrorKind, Ttl};

use super::MakesLoaders;
use super::steps::{BOUND, Source, lifetime, options, process};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, check, check_eq};

/// While the cache is away values are loaded; when it is back they are cached again.
pub async fn load_023_an_unreachable_cache_does_not_stop_the_service(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source) = (harness.name("value"), Source::default());
    harness.disturb(Disturbance::GoAway).await?;
    for expected in 1..=2 {
        let given = loader.number(&key, source.number()).await;
        check!(
            given.as_ref().is_ok_and(|value| *value == Some(expected)),
            "a value while the cache is away: {given:?}"
        );
    }
    harness.disturb(Disturbance::ComeBack).await?;
    // A breaker that opened meanwhile lets no call pass for a minute.
    harness
        .eventually(BOUND * 5, "caching again what is loaded", async || {
            let before = source.calls();
            let given = loader.number(&key, source.number()).await;
            given.is_ok() && source.calls() == before
        })
        .await
        .premise("what is loaded is cached")
}

/// A cache that can be read and not written costs loads, and no answers.
pub async fn load_024_a_value_that_cannot_be_cached_is_given_all_the_same(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let process = harness.client().await?;
    let faults = Arc::new(Faults::new());
    faults.always("cache.set", Fault::Err(ErrorKind::ResourceExhausted));
    let full = Stack::new().with_shared(faults).wrap(Arc::clone(process.cache()));
    let lifetime = lifetime(harness, &*process);
    let loader = process
        .loader(full, options(lifetime), false)
        .premise("these options go with the cache")?;
    let source = Source::default();
    let given = loader.number(&harness.name("value"), source.number()).await;
    check!(
        given.as_ref().is_ok_and(|value| *value == Some(1)),
        "a value that cannot be cached: {given:?}"
    );
    Ok(())
}

/// Bytes that no loader wrote are no outage: the value is loaded, and replaces them.
pub async fn load_025_what_no_loader_wrote_is_loaded_anew(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (process, loader, lifetime) = process(harness, |options, _| options).await?;
    let foreign: [&'static [u8]; 4] = [b"", b"plain text", b"\xc1", b"{\"name\":"];
    for (bytes, number) in foreign.into_iter().zip(0..) {
        let (key, source) = (harness.name(&format!("value{number}")), Source::default());
        process
            .cache()
            .set(&key, Bytes::from_static(bytes), Ttl::After(lifetime))
            .await
            .premise("a value is stored")?;
        for _ in 0..2 {
            let given = loader.number(&key, source.number()).await;
            check!(
                given.as_ref().is_ok_and(|value| *value == Some(1)),
                "over {bytes:?}, which no loader wrote: {given:?}"
            );
        }
    }
    Ok(())
}

/// A value that is not of the requested type any more, as after an update of the service, is loaded and replaced.
pub async fn load_026_a_value_of_another_type_is_loaded_anew(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, texts, numbers) = (harness.name("value"), Source::default(), Source::default());
    let text = loader
        .text(&key, texts.then(|_| Ok(Some("one".to_owned()))))
        .await;
    text.premise("what is not cached is loaded")?;
    let given = loader.number(&key, numbers.number()).await;
    check!(
        given.as_ref().is_ok_and(|value| *value == Some(1)),
        "a number where a text is cached: {given:?}"
    );
    let again = loader.number(&key, numbers.number()).await?;
    check_eq!(again, Some(1), "what was given after it was replaced");
    Ok(())
}
