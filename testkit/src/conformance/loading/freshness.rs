//! Values that are about to expire, and values that have.

use super::MakesLoaders;
use super::steps::{BOUND, Gate, Source, ask, failure, filled, over, process, settle};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error};

/// In the last share of its time a value is given at once and loaded anew in the background, once.
pub async fn load_014_a_value_is_loaded_anew_before_its_time_is_over(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, lifetime) = process(harness, |options, _| options.with_refresh_ahead(0.5)).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    filled(&*loader, &key, &source).await?;
    harness.pass(lifetime / 4).await;
    let early = loader.number(&key, source.number()).await;
    (early.premise("what is cached is given")? == Some(1)).premise("what is cached is given")?;
    settle(harness).await;
    check_eq!(source.calls(), 1, "loads when the value was in its first half");
    harness.pass(lifetime * 2 / 5).await;
    for _ in 0..3 {
        let due = loader.number(&key, source.behind(&gate, |call| Ok(Some(call))));
        let due = harness
            .within(BOUND, "a value that is due is given while it is loaded anew", due)
            .await?;
        check_eq!(due?, Some(1), "what was given while it is loaded anew");
    }
    source.asked(harness, 2).await?;
    gate.open();
    harness
        .eventually(BOUND, "giving what was loaded in the background", async || {
            let given = loader.number(&key, source.number()).await;
            given.is_ok_and(|given| given == Some(2))
        })
        .await?;
    check_eq!(source.calls(), 2, "loads of a value that was refreshed once");
    Ok(())
}

/// When a refresh in the background fails, the value is given until its time is over.
pub async fn load_015_a_refresh_that_fails_leaves_the_value(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_process, loader, lifetime) = process(harness, |options, _| options.with_refresh_ahead(0.9)).await?;
    let (key, source) = (harness.name("value"), Source::default());
    filled(&*loader, &key, &source).await?;
    harness.pass(lifetime / 5).await;
    let due = loader.number(&key, source.fail()).await;
    (due.premise("what is cached is given")? == Some(1)).premise("what is cached is given")?;
    source.asked(harness, 2).await?;
    settle(harness).await;
    let after = loader.number(&key, source.fail()).await;
    check!(
        after.as_ref().is_ok_and(|value| *value == Some(1)),
        "after a refresh that failed, in the value's time: {after:?}"
    );
    Ok(())
}

/// A value whose time is over is given when it cannot be loaded anew, if that is allowed.
pub async fn load_016_a_stale_value_is_served_when_loading_fails(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (process, loader, lifetime) =
        process(harness, |options, lifetime| options.with_stale_for(lifetime)).await?;
    let (key, source) = (harness.name("value"), Source::default());
    filled(&*loader, &key, &source).await?;
    harness.pass(over(&*process, lifetime)).await;
    let stale = loader.number(&key, source.fail()).await;
    (source.calls() == 2).premise("a value whose time is over is loaded anew")?;
    check!(
        stale.as_ref().is_ok_and(|value| *value == Some(1)),
        "a value whose time is over, which cannot be loaded anew: {stale:?}"
    );
    Ok(())
}

/// After the time for which it may be stale, the loader's error is given.
pub async fn load_017_a_value_is_not_stale_for_longer_than_allowed(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (process, loader, lifetime) =
        process(harness, |options, lifetime| options.with_stale_for(lifetime / 2)).await?;
    let (key, source) = (harness.name("value"), Source::default());
    filled(&*loader, &key, &source).await?;
    harness.pass(over(&*process, lifetime + lifetime / 2)).await;
    let late = loader.number(&key, source.fail()).await;
    check_error!(
        late,
        failure().kind(),
        "a value that was stale for too long, which cannot be loaded anew"
    );
    Ok(())
}

/// Where loading works, nobody is given a value whose time is over.
pub async fn load_018_a_stale_value_is_not_served_while_loading_works(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (process, loader, lifetime) =
        process(harness, |options, lifetime| options.with_stale_for(lifetime)).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    filled(&*loader, &key, &source).await?;
    harness.pass(over(&*process, lifetime)).await;
    let waiting = ask(&loader, &key, source.behind(&gate, |call| Ok(Some(call))));
    source.asked(harness, 2).await?;
    gate.open();
    let given = harness
        .within(BOUND, "a value whose time is over is loaded anew", waiting)
        .await??;
    check_eq!(given?, Some(2), "what was given when the value's time was over");
    Ok(())
}
