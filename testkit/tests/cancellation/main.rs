//! Every public operation of the embedded backends, dropped at every await point, directly and behind the whole standard stack.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod catalogue;
mod embedded;
mod engines;
mod leaky;

use infra_testkit::cancellation::{Case, Ground, Route, Sweep, every_case};
use infra_testkit::conformance::{Failure, TimeControl};

/// Plays every case, and shows that each that goes through the stack was stopped there.
pub(crate) async fn play<G: Ground>(
    cases: &[Case<G>],
    time: TimeControl,
    make: impl AsyncFn(Route) -> Result<G, Failure>,
) {
    let sweeps = match every_case(cases, time, make).await {
        Ok(sweeps) => sweeps,
        Err(failure) => panic!("{failure}"),
    };
    assert_eq!(sweeps.len(), cases.len());
    for sweep in sweeps {
        check_stopped(&sweep);
    }
}

/// The traits that a stack can stand in front of.
const INTERCEPTED: [&str; 17] = [
    "Bloom",
    "ConfigCenter",
    "Database",
    "Hashes",
    "InstanceIds",
    "KeyValue",
    "Keys",
    "Locks",
    "OnceStore",
    "Producer",
    "RateLimitStore",
    "Registry",
    "Scripts",
    "Search",
    "Sets",
    "SortedSets",
    "TopicAdmin",
];

/// A case of an intercepted method must call that method, which waits before its first attempt, between the two, and before the second.
fn check_stopped(sweep: &Sweep) {
    let operation = sweep.name.split(" (").next().expect("a name");
    let (contract, method) = operation.split_once("::").expect("a trait and a method");
    if INTERCEPTED.contains(&contract) {
        let label = format!(".{method}");
        let called = sweep.labels.iter().any(|called| called.ends_with(&label));
        assert!(called && sweep.points >= 3, "{sweep:?}");
    }
}
