//! Who waits for whose load.

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;

use super::MakesLoaders;
use super::steps::{BOUND, Gate, Source, ask, failure, filled, options, process, settle};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

const CALLERS: usize = 64;

/// Sixty-four callers who miss the same value at once cause one load, and all are given what it found.
pub async fn cache_020_many_callers_share_one_load(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let load = || source.behind(&gate, |call| Ok(Some(call)));
    let callers: Vec<_> = (0..CALLERS).map(|_| ask(&loader, &key, load())).collect();
    source.asked(harness, 1).await?;
    settle(harness).await;
    gate.open();
    for caller in callers {
        let given = harness
            .within(BOUND, "a caller who waits is answered", caller)
            .await??;
        check_eq!(given?, Some(1), "what one of {CALLERS} callers was given");
    }
    check_eq!(source.calls(), 1, "loads for {CALLERS} callers");
    Ok(())
}

/// Whoever waits for a load that fails is given the loader's own error.
pub async fn load_001_every_waiter_is_given_the_error_of_the_loader(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let load = || source.behind(&gate, |_| Err(failure()));
    let callers: Vec<_> = (0..3).map(|_| ask(&loader, &key, load())).collect();
    source.asked(harness, 1).await?;
    settle(harness).await;
    gate.open();
    for caller in callers {
        let given = harness
            .within(BOUND, "a caller who waits is answered", caller)
            .await
            .premise("a caller who waits is answered")??;
        let error = check_error!(given, failure().kind(), "a load that failed");
        check_eq!(
            error.message(),
            failure().message(),
            "what was said to one who waited"
        );
    }
    Ok(())
}

/// A loader that panics is an internal error for all who wait, and the next caller loads.
pub async fn load_002_a_loader_that_panics_frees_those_who_wait(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    // As a panic, without the report of one that nobody expected.
    let load = || {
        source.behind(&gate, |_| {
            std::panic::resume_unwind(Box::new("the defect of a loader"))
        })
    };
    let callers: Vec<_> = (0..2).map(|_| ask(&loader, &key, load())).collect();
    source.asked(harness, 1).await?;
    settle(harness).await;
    gate.open();
    for caller in callers {
        let given = harness
            .within(BOUND, "who waits for a loader that panicked is freed", caller)
            .await??;
        check_error!(given, ErrorKind::Internal, "a loader that panicked");
    }
    let next = loader.number(&key, source.number());
    let next = harness
        .within(BOUND, "the caller after a panic is answered", next)
        .await?;
    check_eq!(next?, Some(2), "what the caller after a panic was given");
    Ok(())
}

/// The caller whose load it was goes away; those who wait are given what it finds, and nothing is loaded twice.
pub async fn load_003_a_caller_that_goes_away_does_not_stop_the_load(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let load = || source.behind(&gate, |call| Ok(Some(call)));
    let first = ask(&loader, &key, load());
    source.asked(harness, 1).await?;
    let second = ask(&loader, &key, load());
    settle(harness).await;
    first.abort();
    settle(harness).await;
    gate.open();
    let given = harness
        .within(BOUND, "who waits is answered though the first went away", second)
        .await??;
    check_eq!(given?, Some(1), "what the one who waited was given");
    check_eq!(source.calls(), 1, "loads for two callers, one of whom went away");
    Ok(())
}

/// A loader that takes longer than its time is given up then, and the next caller loads.
pub async fn load_004_a_loader_that_takes_too_long_is_given_up(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let limit = Duration::from_millis(700);
    let (_process, loader, _) = process(harness, |options, _| options.with_load_timeout(limit)).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let stuck = loader.number(&key, source.behind(&gate, |call| Ok(Some(call))));
    let given = harness
        .within(BOUND, "a loader that is stuck is given up", stuck)
        .await?;
    check_error!(given, ErrorKind::Timeout, "a loader that is stuck");
    let next = loader.number(&key, source.number());
    let next = harness
        .within(
            BOUND,
            "the caller after a loader that was stuck is answered",
            next,
        )
        .await?;
    check_eq!(
        next?,
        Some(2),
        "what the caller after a loader that was stuck was given"
    );
    Ok(())
}

/// A slow load holds up nobody who wants another value.
pub async fn load_005_keys_do_not_wait_for_each_other(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (slow, quick, gate) = (Source::default(), Source::default(), Gate::new());
    let waiting = ask(
        &loader,
        &harness.name("slow"),
        slow.behind(&gate, |call| Ok(Some(call))),
    );
    slow.asked(harness, 1).await?;
    let key = harness.name("quick");
    let given = loader.number(&key, quick.number());
    let given = harness
        .within(BOUND, "a value while another is being loaded", given)
        .await?;
    gate.open();
    check_eq!(given?, Some(1), "a value while another is being loaded");
    check_eq!(waiting.await??, Some(1), "the value whose load was slow");
    Ok(())
}

/// What one process loaded, the others need not.
pub async fn load_006_processes_find_what_another_loaded(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (_one, loader, _) = process(harness, |options, _| options).await?;
    let (_other, other_loader, _) = process(harness, |options, _| options).await?;
    let (key, source) = (harness.name("value"), Source::default());
    filled(&*loader, &key, &source).await?;
    let given = other_loader.number(&key, source.number()).await?;
    check_eq!(given, Some(1), "what another process was given");
    check_eq!(source.calls(), 1, "loads by two processes, one after the other");
    Ok(())
}

/// With the locks of the cluster, two processes who miss a value at once cause one load.
pub async fn load_007_with_locks_the_cluster_loads_once(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let mut callers = Vec::new();
    for _ in 0..2 {
        let process = harness.client().await?;
        let lifetime = super::steps::lifetime(harness, &*process);
        let loader = process
            .loader(Arc::clone(process.cache()), options(lifetime), true)
            .premise("these options go with the cache")?;
        callers.push(ask(&loader, &key, source.behind(&gate, |call| Ok(Some(call)))));
    }
    source.asked(harness, 1).await?;
    settle(harness).await;
    gate.open();
    for caller in callers {
        let given = harness
            .within(BOUND, "a process that waits is answered", caller)
            .await??;
        check_eq!(given?, Some(1), "what one of two processes was given");
    }
    check_eq!(source.calls(), 1, "loads by two processes at once");
    Ok(())
}

/// The lock spares loads, and nothing depends on it: a value whose lock is held by a process that hangs is loaded without it.
pub async fn load_008_a_lock_that_cannot_be_had_only_costs_time(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (key, source) = (harness.name("value"), Source::default());
    let hanging = harness.bare_client().await?;
    let held = hanging
        .cache()
        .try_acquire(&format!("load:{key}"), Duration::from_secs(300))
        .await
        .premise("a free lock is given")?
        .ok_or_else(|| Failure::premise("a free lock is given"))?;
    let process = harness.client().await?;
    let lifetime = super::steps::lifetime(harness, &*process);
    let brief = options(lifetime).with_load_timeout(Duration::from_millis(700));
    let loader = process
        .loader(Arc::clone(process.cache()), brief, true)
        .premise("these options go with the cache")?;
    let given = loader.number(&key, source.number());
    let given = harness
        .within(BOUND, "a value whose lock cannot be had", given)
        .await?;
    check!(
        given.as_ref().is_ok_and(|value| *value == Some(1)),
        "a value whose lock cannot be had was not loaded: {given:?}"
    );
    drop(held);
    Ok(())
}
