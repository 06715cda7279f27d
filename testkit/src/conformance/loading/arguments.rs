//! Mistakes of callers, and what errors say.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::cache::LoadOptions;

use super::MakesLoaders;
use super::steps::{BOUND, Gate, Source, lifetime, process, settle};
use crate::conformance::{Harness, Outcome, Premise, Subject, check, check_eq, check_error, limits};

/// What no error may show.
const SECRET: &str = "swordfish";

/// Callers who want different types of one key and meet in one load are told so.
pub async fn load_027_types_that_meet_in_one_load_are_told_apart(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let met = meet(harness).await?;
    check_error!(
        met,
        ErrorKind::DataCorrupted,
        "a number where a text is being loaded"
    );
    Ok(())
}

/// What is cached, or was loaded, is not in the text of an error.
pub async fn load_028_errors_show_no_values(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let met = meet(harness).await?;
    let error = met.err().premise("types that meet in one load are told apart")?;
    let shown = format!("{error} {error:?}");
    check!(!shown.contains(SECRET), "an error shows a value: {shown}");
    Ok(())
}

/// Asks for a number while a text is being loaded.
async fn meet(
    harness: &Harness<dyn MakesLoaders>,
) -> Result<infra_core::Result<Option<u64>>, crate::conformance::Failure> {
    let (_process, loader, _) = process(harness, |options, _| options).await?;
    let (key, source, gate) = (harness.name("value"), Source::default(), Gate::new());
    let (texts, of) = (loader.clone(), key.clone());
    let load = source.behind(&gate, |_| Ok(Some(SECRET.to_owned())));
    let text = tokio::spawn(async move { texts.text(&of, load).await });
    source.asked(harness, 1).await?;
    let number = super::steps::ask(&loader, &key, source.number());
    settle(harness).await;
    gate.open();
    let text = harness.within(BOUND, "who asked for the text", text).await??;
    (text.premise("what is not cached is loaded")?.as_deref() == Some(SECRET))
        .premise("what was loaded is given")?;
    Ok(harness
        .within(BOUND, "who asked for the number", number)
        .await??)
}

/// Keys that the cache refuses are refused, and nothing is loaded under them.
pub async fn load_029_keys_outside_the_limits_are_refused_before_loading(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let (process, loader, _) = process(harness, |options, _| options).await?;
    let source = Source::default();
    let long = "k".repeat(limits(&*process).max_key_bytes + 1);
    for key in ["", long.as_str()] {
        let given = loader.number(key, source.number()).await;
        check_error!(given, ErrorKind::InvalidArgument, "a key of {} bytes", key.len());
    }
    check_eq!(source.calls(), 0, "loads under keys that cannot be");
    Ok(())
}

/// After the shutdown of its cache a loader refuses, and loads nothing.
pub async fn load_030_after_shutdown_nothing_is_loaded(harness: &Harness<dyn MakesLoaders>) -> Outcome {
    let (process, loader, _) = process(harness, |options, _| options).await?;
    let source = Source::default();
    process
        .close(Duration::from_secs(5))
        .await
        .premise("a cache can be shut down")?;
    let given = loader.number(&harness.name("value"), source.number()).await;
    check_error!(given, ErrorKind::Closed, "a value after shutdown");
    check_eq!(source.calls(), 0, "loads after shutdown");
    Ok(())
}

/// Options that cannot work, by themselves or with this cache, are refused with everything that is wrong.
pub async fn load_031_impossible_options_are_refused_all_at_once(
    harness: &Harness<dyn MakesLoaders>,
) -> Outcome {
    let process = harness.client().await?;
    let whole = lifetime(harness, &*process);
    let options = LoadOptions::new(whole)
        .with_jitter(1.0)
        .with_refresh_ahead(f64::NAN)
        .with_stale_for(limits(&*process).max_ttl)
        .with_load_timeout(Duration::ZERO);
    let made = process.loader(process.cache().clone(), options, false);
    let error = check_error!(made, ErrorKind::InvalidConfig, "options that cannot work");
    for path in ["jitter", "refresh_ahead", "stale_for", "load_timeout"] {
        check!(
            error.message().contains(path),
            "the error does not name {path}: {error}"
        );
    }
    Ok(())
}
