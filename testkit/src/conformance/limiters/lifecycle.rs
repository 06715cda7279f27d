//! What is counted, and the end.

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::intercept::{Fault, Faults, Stack};
use infra_core::rate_limit::{Check, Mode, OnFailure, Take};
use infra_memory::MemoryMeter;

use super::MakesLimiters;
use super::steps::{RULE, USER, config, decided, process, slow};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error};

const DECISIONS: &str = "infra.rate_limit.decisions";
const FAILURES: &str = "infra.rate_limit.failures";

/// Decisions are counted by rule and outcome; no resource becomes a label, or series would grow without bound.
pub async fn limiter_028_decisions_are_counted_without_resources(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let process = harness.client().await?;
    let meter = Arc::new(MemoryMeter::new());
    let rules = config(harness, Mode::Local).with_rule(RULE, slow(2));
    let limiter = process.limiter(rules, None, meter.clone());
    let limiter = limiter.premise("a valid configuration is accepted")?;
    for resource in ["user:1", "user:2"] {
        for _ in 0..3 {
            decided(&*limiter, resource, RULE, 1).await?;
        }
        decided(&*limiter, resource, "unknown", 1).await?;
    }
    let count = |rule, outcome| meter.value(DECISIONS, &[("rule", rule), ("outcome", outcome)]);
    check_eq!(
        (
            count(RULE, "allowed"),
            count(RULE, "denied"),
            count("", "unknown_rule")
        ),
        (Some(4.0), Some(2.0), Some(2.0)),
        "decisions that allowed, denied, and had no rule"
    );
    for set in meter.label_sets(DECISIONS) {
        let mut names: Vec<_> = set.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        check_eq!(names, ["outcome", "rule"], "labels of {DECISIONS}");
    }
    Ok(())
}

/// Each decision that was made without the store is counted as a failure, whatever it is.
pub async fn limiter_029_decisions_without_the_store_are_counted(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let process = harness.client().await?;
    let (meter, faults) = (Arc::new(MemoryMeter::new()), Arc::new(Faults::new()));
    faults.always("rate_limit_store.take", Fault::Err(ErrorKind::Unavailable));
    let store = Stack::new()
        .with_shared(faults.clone())
        .wrap(Arc::clone(process.store()));
    let rules = config(harness, Mode::Distributed)
        .with_on_failure(OnFailure::Allow)
        .with_rule(RULE, slow(9));
    let limiter = process.limiter(rules, Some(store), meter.clone());
    let limiter = limiter.premise("a valid configuration is accepted")?;
    for _ in 0..3 {
        // What is decided then is another scenario's.
        let _decided = limiter.check_n(USER, RULE, 1).await;
    }
    faults.clear();
    decided(&*limiter, USER, RULE, 1).await?;
    check_eq!(
        meter.value(FAILURES, &[]),
        Some(3.0),
        "failures, after three decisions without the store and one of it"
    );
    Ok(())
}

/// After its shutdown a limiter decides nothing; a second shutdown is none.
pub async fn limiter_030_a_limiter_that_was_shut_down_is_closed(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_process, limiter) = process(harness, Mode::Local, 5).await?;
    for time in ["first", "second"] {
        let ended = limiter.shutdown(Duration::from_secs(5)).await;
        check!(ended.is_ok(), "the {time} shutdown: {ended:?}");
    }
    let one = limiter.check_n(USER, RULE, 1).await;
    check_error!(one, ErrorKind::Closed, "a check after shutdown");
    let several = limiter.check_all(&[Check::new(USER, RULE)]).await;
    check_error!(several, ErrorKind::Closed, "checks after shutdown");
    check_error!(limiter.health().await, ErrorKind::Closed, "health after shutdown");
    Ok(())
}

/// The store may have other users: it is not the limiter's to shut down.
pub async fn limiter_031_a_shutdown_leaves_the_store_to_its_owner(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (process, limiter) = process(harness, Mode::Distributed, 5).await?;
    limiter
        .shutdown(Duration::from_secs(5))
        .await
        .premise("a limiter can be shut down")?;
    let quota = infra_core::rate_limit::Quota::new(1.0, 5).premise("a valid quota")?;
    let taken = process
        .store()
        .take(&[Take::new(harness.name("bucket"), quota, 1)])
        .await;
    check!(
        taken.is_ok(),
        "the store after the shutdown of a limiter: {taken:?}"
    );
    Ok(())
}
