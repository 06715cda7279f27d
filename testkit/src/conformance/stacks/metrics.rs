//! What is recorded of calls: the names, labels and numbers that dashboards and alarms are built on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use infra_core::{Error, ErrorKind};

use super::MakesStacks;
use super::work::{Ground, PAUSE, Step, config, unavailable};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq};

const DURATION: &str = "infra.client.operation.duration";
const ACTIVE: &str = "infra.client.operation.active";
const RETRIES: &str = "infra.client.operation.retries";

/// Durations, calls under way and repetitions are recorded under these names, with these labels and no others: no key becomes one, or
/// series would grow without bound.
pub async fn metric_011_calls_have_the_names_and_labels_of_the_contract(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let ground = Ground::new(harness, config(), []).await?;
    for key in ["user:1", "user:2"] {
        ground.behind.read(key).await.premise("a call succeeds")?;
    }
    for (name, expected) in [
        (DURATION, &["backend", "component", "method", "outcome"][..]),
        (ACTIVE, &["backend", "component", "method"]),
        (RETRIES, &["backend", "component", "method"]),
    ] {
        let sets = ground.meter.label_sets(name);
        check_eq!(sets.len(), 1, "label sets of {name} after calls of one method");
        let names: Vec<&str> = sets[0].iter().map(|(label, _)| label.as_str()).collect();
        check_eq!(names, expected, "labels of {name}");
        let values = |label: &str| {
            sets[0]
                .iter()
                .find(|(name, _)| name == label)
                .map(|(_, value)| value.as_str())
        };
        check_eq!(
            (values("component"), values("backend"), values("method")),
            (Some("work"), Some("worker"), Some("read")),
            "the values of the labels of {name}"
        );
    }
    Ok(())
}

/// The number of calls under way shows those that are, and goes back to none, however they end.
pub async fn metric_012_calls_under_way_go_back_to_none(harness: &Harness<dyn MakesStacks>) -> Outcome {
    let fatal = || Step::Fail(Error::new(ErrorKind::NotFound, "nothing is there"));
    for (words, step) in [
        ("succeeds", Step::Sleep(PAUSE)),
        ("fails", fatal()),
        ("panics", Step::Panic),
        ("is dropped", Step::Hang),
    ] {
        let ground = Ground::new(harness, config(), [step]).await?;
        let call = tokio::spawn({
            let behind = Arc::clone(&ground.behind);
            async move { AssertUnwindSafe(behind.wait("k")).catch_unwind().await.map(drop) }
        });
        tokio::task::yield_now().await;
        if !call.is_finished() {
            check_eq!(
                ground.series(ACTIVE, "wait"),
                Some(1.0),
                "calls under way during a call that {words}"
            );
        }
        harness.pass(PAUSE * 2).await;
        call.abort();
        let _ended = call.await;
        check_eq!(
            ground.series(ACTIVE, "wait"),
            Some(0.0),
            "calls under way after a call that {words}"
        );
    }
    Ok(())
}

/// Metrics see a call as its caller does: one observation that lasts from the first attempt to the last, and the repetitions counted.
pub async fn metric_013_a_repeated_call_is_one_call_and_its_repetitions_are_counted(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let ground = Ground::new(harness, config(), [unavailable(), unavailable()]).await?;
    ground
        .behind
        .read("k")
        .await
        .premise("the third attempt succeeds")?;
    check_eq!(
        ground.observed("read", "ok"),
        Some(1.0),
        "observations of a call that was repeated twice"
    );
    check_eq!(
        ground.series(RETRIES, "read"),
        Some(2.0),
        "repetitions of a call that was repeated twice"
    );
    let labels = [
        ("component", "work"),
        ("backend", "worker"),
        ("method", "read"),
        ("outcome", "ok"),
    ];
    let seconds = ground
        .meter
        .histogram_reading(DURATION, &labels)
        .map(|reading| reading.sum);
    check!(
        seconds.is_some_and(|seconds| seconds >= (PAUSE * 2).as_secs_f64()),
        "a call that waited twice for {PAUSE:?} was recorded with {seconds:?} seconds"
    );
    Ok(())
}

/// Success, each kind of error, a dropped call and a panic are told apart by the label `outcome`.
pub async fn metric_014_each_way_to_end_has_an_outcome_of_its_own(
    harness: &Harness<dyn MakesStacks>,
) -> Outcome {
    let not_found = Step::Fail(Error::new(ErrorKind::NotFound, "nothing is there"));
    let ground = Ground::new(harness, config(), [not_found, Step::Panic, Step::Hang]).await?;
    let behind = &ground.behind;
    check!(behind.write("k").await.is_err(), "an error became a success");
    let panicked = AssertUnwindSafe(behind.write("k")).catch_unwind().await;
    check!(panicked.is_err(), "a panic was swallowed");
    let dropped = tokio::time::timeout(Duration::from_millis(1), behind.wait("k")).await;
    check!(dropped.is_err(), "a call that hangs came back");
    for (method, outcome) in [
        ("write", "not_found"),
        ("write", "panicked"),
        ("wait", "cancelled"),
    ] {
        check_eq!(
            ground.observed(method, outcome),
            Some(1.0),
            "observations of {method} with the outcome {outcome}"
        );
    }
    Ok(())
}
