//! What to repeat, how often and how late: plain configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ConstantBuilder, ExponentialBuilder};
use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::budget::{Budget, BudgetPolicy};
use crate::config::{Problems, Validate, humane};
use crate::error::Error;

/// How the delay before a repetition grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Backoff {
    /// The same delay each time.
    Fixed {
        /// The delay.
        #[serde(with = "humane")]
        delay: Duration,
    },
    /// `initial`, then each delay `factor` times the one before, never more than `max`.
    Exponential {
        /// The delay before the first repetition.
        #[serde(with = "humane")]
        initial: Duration,
        /// How much longer each delay is than the one before; at least 1.
        factor: f32,
        /// The longest delay.
        #[serde(with = "humane")]
        max: Duration,
    },
}

/// How delays are spread, so that callers that failed together do not come back together.
///
/// The variants are those of the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015); `Proportional` is the
/// usual ± band.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Jitter {
    /// The delay as computed.
    None,
    /// Anything from zero to the computed delay.
    Full,
    /// The computed delay plus or minus this share of it, from 0 to 1.
    Proportional(f64),
    /// Anything from `initial` to three times the delay before, never more than `max`; needs [`Backoff::Exponential`],
    /// whose `factor` it ignores.
    Decorrelated,
}

/// Whether doing an operation twice leaves the same state as doing it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idempotence {
    /// It does: repeat whatever the error allows.
    Idempotent,
    /// It does not: repeat only what certainly changed nothing ([`Error::had_no_effect`]).
    NotIdempotent,
}

/// A predicate over errors, set in code with [`Policy::with_retry_if`].
#[derive(Clone)]
pub(super) struct Predicate(pub(super) Arc<dyn Fn(&Error) -> bool + Send + Sync>);

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

/// What to repeat, how often, how late, and within which bounds.
///
/// ```
/// use std::time::Duration;
/// use infra_core::config::Validate;
/// use infra_core::retry::{Jitter, Policy};
///
/// let policy = Policy::production()
///     .with_max_attempts(5)
///     .with_jitter(Jitter::Proportional(0.3))
///     .with_total_deadline(Duration::from_secs(8));
/// policy.check()?;
///
/// let from_file: Policy = serde_json::from_str(
///     r#"{ "max_attempts": 3, "backoff": { "exponential": { "initial": "100ms", "factor": 2.0, "max": "5s" } } }"#,
/// )?;
/// from_file.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Policy {
    /// How often the operation is tried at most, the first time included. 1 means no repetition.
    pub max_attempts: u32,
    /// How delays grow.
    pub backoff: Backoff,
    /// How delays are spread.
    pub jitter: Jitter,
    /// The time allowed to each attempt; an attempt that takes longer is dropped and fails with
    /// [`Timeout`](crate::ErrorKind::Timeout).
    #[serde(with = "humane::option")]
    pub attempt_timeout: Option<Duration>,
    /// The time allowed to all attempts and delays together. No delay is begun that would reach beyond it.
    #[serde(with = "humane::option")]
    pub total_deadline: Option<Duration>,
    /// How many repetitions all callers together may make.
    pub budget: BudgetPolicy,
    #[serde(skip)]
    pub(super) retry_if: Option<Predicate>,
    #[serde(skip)]
    pub(super) seed: Option<u64>,
}

impl Default for Policy {
    /// The same as [`Policy::production`].
    fn default() -> Self {
        Self::production()
    }
}

impl Policy {
    /// For a developer's machine: 3 attempts, 50 ms doubling to at most 1 s, full jitter, 10 s in all.
    #[must_use]
    pub fn development() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::Exponential {
                initial: Duration::from_millis(50),
                factor: 2.0,
                max: Duration::from_secs(1),
            },
            jitter: Jitter::Full,
            attempt_timeout: None,
            total_deadline: Some(Duration::from_secs(10)),
            budget: BudgetPolicy::default(),
            retry_if: None,
            seed: None,
        }
    }

    /// For a fleet: 3 attempts, 100 ms doubling to at most 5 s, full jitter, 5 s for each attempt, 15 s in all.
    #[must_use]
    pub fn production() -> Self {
        Self {
            backoff: Backoff::Exponential {
                initial: Duration::from_millis(100),
                factor: 2.0,
                max: Duration::from_secs(5),
            },
            attempt_timeout: Some(Duration::from_secs(5)),
            total_deadline: Some(Duration::from_secs(15)),
            ..Self::development()
        }
    }

    /// The same policy with another number of attempts, the first one included.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The same policy with other delays.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The same policy with delays spread another way.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The same policy with this time for each attempt.
    #[must_use]
    pub fn with_attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = Some(limit);
        self
    }

    /// The same policy with no bound on one attempt, for operations that bound themselves.
    #[must_use]
    pub fn without_attempt_timeout(mut self) -> Self {
        self.attempt_timeout = None;
        self
    }

    /// The same policy with this time for all attempts and delays together.
    #[must_use]
    pub fn with_total_deadline(mut self, limit: Duration) -> Self {
        self.total_deadline = Some(limit);
        self
    }

    /// The same policy with no bound on the whole, other than the number of attempts.
    #[must_use]
    pub fn without_total_deadline(mut self) -> Self {
        self.total_deadline = None;
        self
    }

    /// The same policy with another budget.
    #[must_use]
    pub fn with_budget(mut self, budget: BudgetPolicy) -> Self {
        self.budget = budget;
        self
    }

    /// The same policy, asking `predicate` instead of [`Error::is_retryable`] whether an error may be repeated.
    ///
    /// Two rules stand above the predicate: an error that an inner retry has marked
    /// [`Exhausted`](crate::Retry::Exhausted) is not repeated, and neither is an operation that is not idempotent unless
    /// the attempt certainly changed nothing.
    #[must_use]
    pub fn with_retry_if(mut self, predicate: impl Fn(&Error) -> bool + Send + Sync + 'static) -> Self {
        self.retry_if = Some(Predicate(Arc::new(predicate)));
        self
    }

    /// The same policy with random delays that are the same in each run, for tests.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the budget that this policy describes, full of its reserve; share it between all callers of one service.
    #[must_use]
    pub fn new_budget(&self) -> Budget {
        Budget::new(&self.budget)
    }

    /// Begins to count the attempts of one operation; see [`Attempts`].
    #[must_use]
    pub fn start(&self, idempotence: Idempotence) -> Attempts {
        Attempts::new(self, idempotence)
    }

    /// The delays before jitter, without end.
    pub(super) fn delays(&self) -> Delays {
        match self.backoff {
            Backoff::Fixed { delay } => Delays::Fixed(
                ConstantBuilder::new()
                    .with_delay(delay)
                    .without_max_times()
                    .build(),
            ),
            Backoff::Exponential { initial, factor, max } => Delays::Exponential(
                ExponentialBuilder::new()
                    .with_min_delay(initial.min(max))
                    .with_factor(factor)
                    .with_max_delay(max)
                    .without_max_times()
                    .build(),
            ),
        }
    }
}

impl Validate for Policy {
    /// Finds: no attempt at all, a factor below 1, a first delay beyond the longest, a share outside 0 to 1, a time limit of
    /// zero, [`Jitter::Decorrelated`] without exponential delays, and a budget outside its ranges.
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.max_attempts > 0,
            "max_attempts",
            "must be at least 1, the first attempt",
        );
        if let Backoff::Exponential { initial, factor, max } = self.backoff {
            problems.within("backoff.exponential", |problems| {
                problems.ensure(
                    factor.is_finite() && factor >= 1.0,
                    "factor",
                    "must be a number of at least 1",
                );
                problems.ensure(initial <= max, "initial", "must not be longer than `max`");
            });
        } else {
            problems.ensure(
                self.jitter != Jitter::Decorrelated,
                "jitter",
                "decorrelated needs an exponential backoff; use full or proportional",
            );
        }
        if let Jitter::Proportional(share) = self.jitter {
            problems.ensure(
                (0.0..=1.0).contains(&share),
                "jitter.proportional",
                "must be between 0 and 1",
            );
        }
        for (path, limit) in [
            ("attempt_timeout", self.attempt_timeout),
            ("total_deadline", self.total_deadline),
        ] {
            problems.ensure(
                limit != Some(Duration::ZERO),
                path,
                "must not be zero; leave it out for no bound",
            );
        }
        problems.within("budget", |problems| self.budget.validate(problems));
    }
}

/// The endless delay sequences of `backon`.
#[derive(Debug)]
pub(super) enum Delays {
    Fixed(<ConstantBuilder as BackoffBuilder>::Backoff),
    Exponential(<ExponentialBuilder as BackoffBuilder>::Backoff),
}

impl Delays {
    pub(super) fn next(&mut self) -> Duration {
        match self {
            Self::Fixed(delays) => delays.next(),
            Self::Exponential(delays) => delays.next(),
        }
        .unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once_with_its_path() {
        let policy = Policy::production()
            .with_max_attempts(0)
            .with_backoff(Backoff::Exponential {
                initial: Duration::from_secs(9),
                factor: f32::NAN,
                max: Duration::from_secs(1),
            })
            .with_jitter(Jitter::Proportional(1.5))
            .with_attempt_timeout(Duration::ZERO)
            .with_budget(BudgetPolicy::default().with_ratio(-1.0));
        let error = policy.check().expect_err("six problems").to_string();
        for path in [
            "max_attempts",
            "factor",
            "initial",
            "jitter.proportional",
            "attempt_timeout",
            "budget.ratio",
        ] {
            assert!(error.contains(path), "{path} in {error}");
        }
        assert!(
            Policy::production()
                .with_backoff(Backoff::Fixed {
                    delay: Duration::ZERO
                })
                .with_jitter(Jitter::Decorrelated)
                .check()
                .is_err()
        );
        for profile in [Policy::development(), Policy::production()] {
            profile.check().expect("our own defaults are accepted");
        }
    }

    #[test]
    fn configuration_round_trips_and_refuses_what_it_does_not_know() {
        let text = r#"{"max_attempts":2,"backoff":{"fixed":{"delay":"1m 30s"}},"jitter":{"proportional":0.3},
                       "attempt_timeout":"2s","total_deadline":null,"budget":{"ttl":"5s","min_per_second":1,"ratio":0.1}}"#;
        let policy: Policy = serde_json::from_str(text).expect("valid");
        assert_eq!(
            policy.backoff,
            Backoff::Fixed {
                delay: Duration::from_secs(90)
            }
        );
        assert_eq!(policy.total_deadline, None);
        let again: Policy =
            serde_json::from_str(&serde_json::to_string(&policy).expect("serialises")).expect("reads back");
        assert_eq!(again.jitter, policy.jitter);
        for wrong in [
            r#"{"attempts":2}"#,
            r#"{"backoff":{"fixed":{"delay":"1s","more":1}}}"#,
        ] {
            assert!(serde_json::from_str::<Policy>(wrong).is_err(), "{wrong}");
        }
    }
}
