//! Making schedules from a seed, and shrinking those that fail.

use std::fmt::Debug;
use std::future::Future;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::conformance::{Failure, Outcome};

/// How many shorter schedules are tried at most when one fails.
const MOST_SHRINKS: usize = 2_000;

/// How many schedules are made, and how long they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelOptions {
    /// The schedules are made from this; the same seed makes the same ones.
    pub seed: u64,
    /// How many schedules. Default: 100.
    pub cases: u32,
    /// At most so many steps in each. Default: 80.
    pub steps: usize,
}

impl ModelOptions {
    /// The default number of schedules from this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            cases: 100,
            steps: 80,
        }
    }

    /// The same with so many schedules.
    #[must_use]
    pub const fn with_cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// The same with at most so many steps in each schedule.
    #[must_use]
    pub const fn with_steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }
}

/// Plays so many schedules; when one fails, plays shorter ones, and reports the last that still fails.
///
/// `play` is given a number that is different each time, for a namespace, and the steps.
pub(super) async fn explore<T, F, R>(
    what: &str,
    options: ModelOptions,
    schedules: impl Strategy<Value = Vec<T>>,
    mut play: F,
) -> Outcome
where
    T: Debug + Clone,
    F: FnMut(u64, Vec<T>) -> R,
    R: Future<Output = Outcome>,
{
    let mut runner = TestRunner::new_with_rng(Config::default(), rng(options.seed));
    let mut played = 0;
    let mut next = move || {
        played += 1;
        played
    };
    for case in 0..options.cases {
        let mut tree = schedules
            .new_tree(&mut runner)
            .map_err(|reason| Failure::broken(format!("{what}: no schedule could be made: {reason}")))?;
        let steps = tree.current();
        let Err(failure) = play(next(), steps.clone()).await else {
            continue;
        };
        let mut worst = (steps, failure);
        let mut budget = MOST_SHRINKS;
        let mut shorter = tree.simplify();
        while shorter && budget > 0 {
            budget -= 1;
            let steps = tree.current();
            shorter = match play(next(), steps.clone()).await {
                Err(failure) => {
                    worst = (steps, failure);
                    tree.simplify()
                }
                Ok(()) => tree.complicate(),
            };
        }
        // Shrinking removed steps first and made them simpler then; now more of them may be superfluous.
        let mut place = 0;
        while place < worst.0.len() && budget > 0 {
            budget -= 1;
            let mut fewer = worst.0.clone();
            fewer.remove(place);
            match play(next(), fewer.clone()).await {
                Err(failure) => worst = (fewer, failure),
                Ok(()) => place += 1,
            }
        }
        return Err(report(what, options.seed, case, &worst.0, &worst.1));
    }
    Ok(())
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().zip(seed.to_le_bytes().into_iter().cycle()) {
        *place = byte;
    }
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn report<T: Debug>(what: &str, seed: u64, case: u32, steps: &[T], failure: &Failure) -> Failure {
    let mut text = format!(
        "{what}: {}\nafter {} steps (shrunk; seed {seed}, schedule {case}):",
        failure.message(),
        steps.len()
    );
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&format!("\n  {}. {step:?}", number + 1));
    }
    Failure::broken(text)
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_schedule_is_shrunk_to_what_it_needs() {
        let schedules = proptest::collection::vec(0..100_u32, 1..50);
        let failure = explore("sum", ModelOptions::new(3), schedules, |_, steps| async move {
            let big = steps.iter().filter(|step| **step >= 10).count();
            if big >= 2 {
                return Err(Failure::broken("two are big"));
            }
            Ok(())
        })
        .await
        .expect_err("some schedule has two");
        assert!(failure.message().ends_with(":\n  1. 10\n  2. 10"), "{failure}");
    }

    #[tokio::test]
    async fn the_same_seed_makes_the_same_schedules() {
        let seen = async |seed| {
            let mut all = Vec::new();
            let schedules = proptest::collection::vec(0..100_u32, 1..50);
            explore(
                "any",
                ModelOptions::new(seed).with_cases(5),
                schedules,
                |_, steps| {
                    all.push(steps);
                    async { Ok(()) }
                },
            )
            .await
            .expect("nothing fails");
            all
        };
        assert_eq!(seen(1).await, seen(1).await);
        assert_ne!(seen(1).await, seen(2).await);
    }
}
