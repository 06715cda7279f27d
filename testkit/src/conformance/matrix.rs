//! The proof that a suite can fail: every scenario against every deliberately broken backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;

use futures_util::future::BoxFuture;
use infra_core::error::Result;

use super::fixture::{Fixture, Setup};
use super::mode::Mode;
use super::runner::play;
use super::scenario::Scenario;
use super::subject::Subject;

type Make<T> = Box<dyn Fn(Setup) -> BoxFuture<'static, Result<Fixture<T>>> + Send + Sync>;

/// A deliberately broken backend, and the scenarios that must notice.
pub struct Breakage<T: ?Sized> {
    defect: &'static str,
    breaks: BTreeSet<String>,
    make: Make<T>,
}

impl<T: Subject + ?Sized> Breakage<T> {
    /// A backend with one defect that the scenario `breaks` (`"LOCK-004"`), and no other, must fail.
    pub fn new<F, R>(breaks: &str, defect: &'static str, make: F) -> Self
    where
        F: Fn(Setup) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Fixture<T>>> + Send + 'static,
    {
        Self {
            defect,
            breaks: BTreeSet::from([breaks.to_owned()]),
            make: Box::new(move |setup| Box::pin(make(setup))),
        }
    }

    /// The same defect, which this scenario cannot but notice too. Say why in a comment: a defect should be as narrow as it can be.
    #[must_use]
    pub fn also(mut self, breaks: &str) -> Self {
        self.breaks.insert(breaks.to_owned());
        self
    }
}

impl<T: ?Sized> fmt::Debug for Breakage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakage")
            .field("defect", &self.defect)
            .field("breaks", &self.breaks)
            .finish_non_exhaustive()
    }
}

/// Plays every scenario against every broken backend, and returns what is wrong with the suite: empty when each defect is noticed by
/// exactly the scenarios that it names, and each scenario is the only one to notice some defect.
#[must_use]
pub fn weaknesses<T: Subject + ?Sized>(scenarios: &[Scenario<T>], breakages: &[Breakage<T>]) -> Vec<String> {
    let mut found = Vec::new();
    let known: BTreeSet<String> = scenarios.iter().map(Scenario::id).collect();
    if known.len() != scenarios.len() {
        found.push("two scenarios have the same id".to_owned());
    }
    let mut proven = BTreeSet::new();
    for breakage in breakages.iter().filter(|breakage| breakage.breaks.len() == 1) {
        proven.extend(breakage.breaks.iter().cloned());
    }
    for (breakage, failed) in breakages.iter().zip(failures_of_all(scenarios, breakages)) {
        found.extend(misjudged(breakage, &failed, &known));
    }
    for id in known.difference(&proven) {
        found.push(format!("nothing breaks {id} alone: it may be unable to fail"));
    }
    found
}

/// The scenarios that should have noticed a defect and did not, and those that should not have and did.
fn misjudged<T: ?Sized>(
    breakage: &Breakage<T>,
    failed: &BTreeMap<String, String>,
    known: &BTreeSet<String>,
) -> Vec<String> {
    let defect = breakage.defect;
    let missed = breakage
        .breaks
        .iter()
        .filter(|id| !failed.contains_key(*id))
        .map(|id| {
            let what = if known.contains(id) {
                "does not notice"
            } else {
                "is no scenario; it should notice"
            };
            format!("{id} {what} a backend that {defect}")
        });
    let surplus = failed
        .iter()
        .filter(|(id, _)| !breakage.breaks.contains(*id))
        .map(|(id, message)| format!("{id} fails, and should not, on a backend that {defect}: {message}"));
    missed.chain(surplus).collect()
}

/// What failed on each broken backend, in their order; as many are tried at once as there are processors.
fn failures_of_all<T: Subject + ?Sized>(
    scenarios: &[Scenario<T>],
    breakages: &[Breakage<T>],
) -> Vec<BTreeMap<String, String>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = breakages.len().div_ceil(workers).max(1);
    let try_all = |breakages: &[Breakage<T>]| -> Vec<_> {
        breakages
            .iter()
            .map(|breakage| failures(scenarios, breakage))
            .collect()
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = breakages
            .chunks(share)
            .map(|share| scope.spawn(move || try_all(share)))
            .collect();
        // A panic outside of a scenario is one of the suite itself, and goes on.
        let joined = shares.into_iter().map(|share| {
            share
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.flatten().collect()
    })
}

/// Asserts that the suite of a family has no [`weaknesses`].
///
/// # Panics
/// With the list of weaknesses.
pub fn prove<T: Subject + ?Sized>(scenarios: &[Scenario<T>], breakages: &[Breakage<T>]) {
    let found = weaknesses(scenarios, breakages);
    assert!(
        found.is_empty(),
        "{} weaknesses:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// The scenarios that failed, with what they said. One that could not be played, or whose premise failed, did not notice anything.
fn failures<T: Subject + ?Sized>(
    scenarios: &[Scenario<T>],
    breakage: &Breakage<T>,
) -> BTreeMap<String, String> {
    let mut failed = BTreeMap::new();
    for scenario in scenarios {
        let outcome = match play(scenario, Mode::Bare, &breakage.make) {
            Ok(report) => report.outcome,
            Err(error) => {
                failed.insert(scenario.id(), format!("no runtime: {error}"));
                continue;
            }
        };
        if let Err(failure) = outcome
            && !failure.is_skipped()
            && !failure.is_premise()
        {
            failed.insert(scenario.id(), failure.to_string());
        }
    }
    failed
}
