//! Plays scenarios: a fresh fixture, a bound on the time, teardown also after a panic.

use std::any::Any;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use infra_core::error::{Error, Result};
use tokio::runtime::{Builder, Runtime};

use super::fixture::{Fixture, Setup, TimeControl};
use super::harness::Harness;
use super::mode::Mode;
use super::scenario::Scenario;
use super::subject::Subject;
use super::verdict::{Failure, Outcome};
use crate::servers::Missing;

/// How long a scenario may take on a backend with a clock of its own.
const REAL_BOUND: Duration = Duration::from_secs(60);

/// How long it may take on a paused clock, which passes at once.
const VIRTUAL_BOUND: Duration = Duration::from_secs(24 * 3600);

/// How long teardown may take.
const TEARDOWN_BOUND: Duration = Duration::from_secs(30);

/// With how many seeds faults are tried at most; a family of few calls may meet none with one.
const SEEDS: u64 = 100;

/// What came out of one run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// Whether the backend behaved.
    pub outcome: Outcome,
    /// How many calls had to be repeated, in modes that repeat.
    pub retries: usize,
}

/// Plays one scenario, on a runtime of its own.
///
/// # Errors
/// Only when no runtime can be made; what the scenario found is in the report.
pub fn play<T, F, R>(scenario: &Scenario<T>, mode: Mode, make: F) -> std::io::Result<Report>
where
    T: Subject + ?Sized,
    F: FnOnce(Setup) -> R,
    R: Future<Output = Result<Fixture<T>>>,
{
    play_seeded(scenario, mode, seed_of(scenario.name()), make)
}

fn play_seeded<T, F, R>(scenario: &Scenario<T>, mode: Mode, seed: u64, make: F) -> std::io::Result<Report>
where
    T: Subject + ?Sized,
    F: FnOnce(Setup) -> R,
    R: Future<Output = Result<Fixture<T>>>,
{
    let setup = Setup {
        namespace: crate::unique("suite"),
        scenario: scenario.id(),
        seed,
    };
    let runtime = runtime()?;
    let report = runtime.block_on(play_here(scenario, mode, setup, make));
    // What a broken backend left blocked in a thread must not block the suite.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(report)
}

/// Plays one scenario as a test: panics when the backend fails it, and lists it as skipped where it cannot be played.
///
/// # Panics
/// With the id, the title, the mode and what was seen, when the backend broke the contract.
#[allow(clippy::panic, reason = "this is how a test says that it failed")]
pub fn test<T, F, R>(scenario: &Scenario<T>, mode: Mode, make: F)
where
    T: Subject + ?Sized,
    F: FnOnce(Setup) -> R,
    R: Future<Output = Result<Fixture<T>>>,
{
    let outcome = match play(scenario, mode, make) {
        Ok(report) => report.outcome,
        Err(error) => panic!("no runtime for {scenario:?}: {error}"),
    };
    match outcome {
        Ok(()) => {}
        Err(failure) if failure.is_skipped() => {
            let test = std::thread::current()
                .name()
                .unwrap_or(scenario.name())
                .to_owned();
            if failure.is_for_want_of_a_server() {
                return crate::skipped::record(&test, failure.message());
            }
            crate::skipped::record_allowed(&test, failure.message());
        }
        Err(failure) => panic!("{scenario:?} ({mode:?}): {failure}"),
    }
}

/// Plays the eventual scenarios with faults, with one seed after another, until calls had to be repeated.
///
/// # Panics
/// When a scenario fails, or when nothing was repeated with any of the seeds: then the faults were not met.
#[allow(clippy::panic, reason = "this is how a test says that it failed")]
pub fn test_retries<T, F, R>(scenarios: &[Scenario<T>], mut make: F)
where
    T: Subject + ?Sized,
    F: FnMut(Setup) -> R,
    R: Future<Output = Result<Fixture<T>>>,
{
    let eventual: Vec<_> = scenarios
        .iter()
        .filter(|scenario| scenario.is_eventual())
        .collect();
    for seed in 0..SEEDS {
        let mut retries = 0;
        for scenario in &eventual {
            let report = match play_seeded(scenario, Mode::WithFaults, seed, &mut make) {
                Ok(report) => report,
                Err(error) => panic!("no runtime for {scenario:?}: {error}"),
            };
            retries += report.retries;
            match report.outcome {
                Err(failure) if !failure.is_skipped() => {
                    panic!("{scenario:?} (with faults, seed {seed}): {failure}")
                }
                _ => {}
            }
        }
        if retries > 0 {
            return;
        }
    }
    panic!("one call in twenty was to fail and be repeated; none was, with {SEEDS} seeds");
}

async fn play_here<T, F, R>(scenario: &Scenario<T>, mode: Mode, setup: Setup, make: F) -> Report
where
    T: Subject + ?Sized,
    F: FnOnce(Setup) -> R,
    R: Future<Output = Result<Fixture<T>>>,
{
    let fixture = match make(setup.clone()).await {
        Ok(fixture) => fixture,
        Err(error) => return Report::failed(unmade(error)),
    };
    let bound = match fixture.time() {
        TimeControl::Virtual => {
            tokio::time::pause();
            VIRTUAL_BOUND
        }
        TimeControl::Real => REAL_BOUND,
    };
    let harness = match Harness::new(fixture, setup, mode) {
        Ok(harness) => harness,
        Err(error) => return Report::failed(error.context("building the stack").into()),
    };
    let run = AssertUnwindSafe(tokio::time::timeout(bound, scenario.play(&harness))).catch_unwind();
    let outcome = match run.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::broken(format!(
            "the scenario did not end within {bound:?}"
        ))),
        Err(panic) => Err(Failure::broken(format!("panicked: {}", panic_text(&*panic)))),
    };
    let retries = harness.retries();
    let outcome = match tear_down(harness.into_fixture()).await {
        Err(failure) if outcome.is_ok() => Err(failure),
        _ => outcome,
    };
    Report { outcome, retries }
}

/// Why there is no fixture. A constructor that wants a server says which one is missing by the source of its error.
fn unmade(error: Error) -> Failure {
    match error.downcast_source::<Missing>() {
        Some(missing) => Failure::no_server(missing.to_string()),
        None => error.context("making the fixture").into(),
    }
}

async fn tear_down<T: ?Sized + 'static>(mut fixture: Fixture<T>) -> Outcome {
    let Some(teardown) = fixture.take_teardown() else {
        return Ok(());
    };
    match tokio::time::timeout(TEARDOWN_BOUND, teardown()).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::broken(format!(
            "teardown did not end within {TEARDOWN_BOUND:?}"
        ))),
    }
}

impl Report {
    fn failed(failure: Failure) -> Self {
        Self {
            outcome: Err(failure),
            retries: 0,
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn seed_of(name: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_not_a_failing_backend() {
        let missing = crate::servers::url("memcached").expect_err("there is no such server");
        let failure = unmade(missing.into());
        assert!(
            failure.is_skipped() && failure.is_for_want_of_a_server(),
            "{failure}"
        );
        let failure = unmade(Error::invalid_config("bad"));
        assert!(!failure.is_skipped(), "{failure}");
    }
}
