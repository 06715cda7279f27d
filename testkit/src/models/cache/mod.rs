//! The cache against a map.

mod ask;
mod model;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use infra_core::cache::Cache;
use proptest::strategy::Strategy;
use tokio::time::{Instant, sleep_until};

use self::model::{Answer, Model, Value};
use self::steps::Step;
use super::explore::{ModelOptions, explore};
use crate::check;
use crate::conformance::{Outcome, TimeControl};
use crate::time::advance;

/// Strings and keys: every operation of [`KeyValue`](infra_core::cache::KeyValue) and [`Keys`](infra_core::cache::Keys), with times to
/// live that pass.
///
/// # Errors
/// A [`Failure`](crate::conformance::Failure) with the shortest schedule on which the cache and the model disagree.
pub async fn cache_strings(
    cache: Arc<dyn Cache>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
) -> Outcome {
    play_all("strings", cache, namespace, time, options, steps::strings()).await
}

/// Hashes, among keys of other types.
///
/// # Errors
/// As [`cache_strings`].
pub async fn cache_hashes(
    cache: Arc<dyn Cache>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
) -> Outcome {
    play_all("hashes", cache, namespace, time, options, steps::hashes()).await
}

/// Sets, among keys of other types.
///
/// # Errors
/// As [`cache_strings`].
pub async fn cache_sets(
    cache: Arc<dyn Cache>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
) -> Outcome {
    play_all("sets", cache, namespace, time, options, steps::sets()).await
}

/// Sorted sets, among keys of other types: order, ties, ranks, ranges of scores with open and closed ends, pages.
///
/// # Errors
/// As [`cache_strings`].
pub async fn cache_sorted_sets(
    cache: Arc<dyn Cache>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
) -> Outcome {
    play_all(
        "sorted sets",
        cache,
        namespace,
        time,
        options,
        steps::sorted_sets(),
    )
    .await
}

/// Atomic batches: conditions, all steps or none.
///
/// # Errors
/// As [`cache_strings`].
pub async fn cache_batches(
    cache: Arc<dyn Cache>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
) -> Outcome {
    play_all("batches", cache, namespace, time, options, steps::batches()).await
}

async fn play_all(
    what: &str,
    cache: Arc<dyn Cache>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
    step: impl Strategy<Value = Step>,
) -> Outcome {
    let schedules = proptest::collection::vec(step, 1..=options.steps.max(1));
    let clock = Clock::of(time, &*cache);
    explore(what, options, schedules, |number, steps| {
        let (cache, namespace) = (cache.clone(), format!("{{{namespace}/{number}}}/"));
        async move {
            let outcome = play(&*cache, &namespace, clock, steps).await;
            cache.delete_prefix(&namespace).await?;
            outcome
        }
    })
    .await
}

async fn play(cache: &dyn Cache, namespace: &str, clock: Clock, steps: Vec<Step>) -> Outcome {
    let mut model = Model::default();
    for step in steps {
        clock.avoid_expiries(&model).await;
        model.forget_expired(Instant::now());
        if let Step::Wait(units) = step {
            clock.pass(clock.unit * u32::from(units)).await;
            continue;
        }
        let seen = ask::ask(cache, namespace, clock.unit, &step).await;
        let expected = model.answer(&step, clock.unit, Instant::now());
        check!(
            agree(&seen, &expected, clock.tolerance),
            "{step:?} gave {seen:?}, expected {expected:?}"
        );
    }
    Ok(())
}

/// How time is measured in schedules, and how exactly it can be.
#[derive(Debug, Clone, Copy)]
struct Clock {
    time: TimeControl,
    /// Steps count times in this.
    unit: Duration,
    /// By how much a remaining time to live may differ, and how close to the end of one nothing is asked.
    tolerance: Duration,
}

impl Clock {
    fn of(time: TimeControl, cache: &dyn Cache) -> Self {
        let limits = cache.capabilities().limits();
        let (unit, tolerance) = match time {
            TimeControl::Virtual => (Duration::from_millis(1), Duration::ZERO),
            TimeControl::Real => (
                Duration::from_millis(100),
                Duration::from_millis(50) + limits.ttl_granularity,
            ),
        };
        Self {
            time,
            unit: unit.max(limits.min_ttl),
            tolerance,
        }
    }

    async fn pass(self, duration: Duration) {
        match self.time {
            TimeControl::Virtual => advance(duration).await,
            TimeControl::Real => tokio::time::sleep(duration).await,
        }
    }

    /// On a real clock nobody can tell whether a key is there that expires just now: waits until it has.
    async fn avoid_expiries(self, model: &Model) {
        if self.time == TimeControl::Virtual {
            return;
        }
        while let Some(end) = model.next_expiry()
            && end <= Instant::now() + self.tolerance * 2
        {
            sleep_until(end + self.tolerance).await;
            if model.next_expiry() == Some(end) {
                return;
            }
        }
    }
}

/// Whether the answers are the same, remaining times up to a tolerance.
fn agree(seen: &Answer, expected: &Answer, tolerance: Duration) -> bool {
    match (seen, expected) {
        (Ok(Value::Left(Some(Some(seen)))), Ok(Value::Left(Some(Some(expected))))) => {
            seen.abs_diff(*expected) <= tolerance
        }
        _ => seen == expected,
    }
}
