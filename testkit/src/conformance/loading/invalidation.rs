//! Changes of what is cached, and loads under way meanwhile.

use super::MakesLoaders;
use super::steps::{BOUND, Gate, Source, ask, filled, process, settle};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq};

/// After a change in one process, the value is loaded anew in every process.
pub async fn load_019_an_invalidated_value_is_loaded_anew(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_one, loader, _) = process(harness, |options, _| options).await?;
    let (_other, other_loader, _) = process(harness, |options, _| options).await?;
    let (key, source) = (harness.name("value"), Source::default());
    filled(&*loader, &key, &source).await?;
    other_loader
        .invalidate(&key)
        .await
        .premise("a value is invalidated")?;
    let given = loader.number(&key, source.number()).await?;
    check_eq!(
        given,
        Some(2),
        "what was given after another process invalidated it"
    );
    Ok(())
}

/// Invalidating says whether something was forgotten.
pub async fn load_020_invalidating_tells_whether_there_was_a_value(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source) = (harness.name("value"), Source::default());
    filled(&*loader, &key, &source).await?;
    let first = loader.invalidate(&key).await.premise("a value is invalidated")?;
    check!(
        first,
        "a value was invalidated, and is said not to have been there"
    );
    let second = loader.invalidate(&key).await.premise("a value is invalidated")?;
    check!(!second, "no value was there, and is said to have been forgotten");
    Ok(())
}

/// A load under way when its key is invalidated gives its waiters what it found, and leaves nothing in the cache.
pub async fn load_021_a_load_that_was_overtaken_is_not_cached(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let waiting = ask(&loader, &key, source.behind(&gate, |call| Ok(Some(call))));
    source.asked(harness, 1).await?;
    loader.invalidate(&key).await.premise("a value is invalidated")?;
    gate.open();
    let given = harness
        .within(BOUND, "who waited for a load that was overtaken", waiting)
        .await??;
    check_eq!(
        given?,
        Some(1),
        "what was given to one who asked before the change"
    );
    settle(harness).await;
    let after = loader.number(&key, source.number()).await?;
    check_eq!(after, Some(2), "what was given to one who asked after the change");
    Ok(())
}

/// Who asks after a change is not given what a load found that was begun before it.
pub async fn load_022_who_asks_after_an_invalidation_does_not_join_an_older_load(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let load = || source.behind(&gate, |call| Ok(Some(call)));
    let before = ask(&loader, &key, load());
    source.asked(harness, 1).await?;
    loader.invalidate(&key).await.premise("a value is invalidated")?;
    let after = ask(&loader, &key, load());
    settle(harness).await;
    gate.open();
    let older = harness.within(BOUND, "who asked before the change", before);
    older.await??.premise("who asked before the change is answered")?;
    let newer = harness
        .within(BOUND, "who asked after the change", after)
        .await??;
    check_eq!(
        newer?,
        Some(2),
        "what was given to one who asked after the change"
    );
    Ok(())
}
