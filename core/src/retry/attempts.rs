//! The decision after each failed attempt, free of clocks and futures so that every caller can share it.

use std::time::Duration;

use super::budget::Budget;
use super::policy::{Backoff, Delays, Idempotence, Jitter, Policy, Predicate};
use crate::error::{Error, Failure, Retry};

/// The attempts of one operation: asked after each failure whether and when to try again.
///
/// It reads no clock and waits for nothing: the caller says how much time has passed, and does the waiting. Make it at the
/// first failure, so that success costs nothing.
///
/// ```
/// use std::time::Duration;
/// use infra_core::retry::{Idempotence, Jitter, Policy};
/// use infra_core::{Error, ErrorKind, Retry};
///
/// let policy = Policy::development().with_max_attempts(2).with_jitter(Jitter::None);
/// let mut attempts = policy.start(Idempotence::Idempotent);
///
/// let busy = Error::new(ErrorKind::RateLimited, "too many").with_retry(Retry::After(Duration::from_secs(1)));
/// assert_eq!(attempts.next_delay(&busy, Duration::ZERO), Some(Duration::from_secs(1)));
///
/// let elapsed = Duration::from_secs(1);
/// assert_eq!(attempts.next_delay(&busy, elapsed), None); // that was the second attempt
/// let last = attempts.conclude(busy, elapsed);
/// assert_eq!(last.retry(), Retry::Exhausted);
/// ```
#[derive(Debug)]
pub struct Attempts {
    max_attempts: u32,
    total_deadline: Option<Duration>,
    idempotence: Idempotence,
    retry_if: Option<Predicate>,
    budget: Option<Budget>,
    delays: Delays,
    spread: Spread,
    made: u32,
    stopped: Option<Stop>,
}

/// Why no further attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The error, or the operation, does not allow one.
    NotRepeatable,
    MaxAttempts,
    TotalDeadline,
    /// The error asks for more time than the deadline leaves.
    HintBeyondDeadline,
    Budget,
}

impl Attempts {
    pub(super) fn new(policy: &Policy, idempotence: Idempotence) -> Self {
        Self {
            max_attempts: policy.max_attempts.max(1),
            total_deadline: policy.total_deadline,
            idempotence,
            retry_if: policy.retry_if.clone(),
            budget: None,
            delays: policy.delays(),
            spread: Spread::new(policy),
            made: 0,
            stopped: None,
        }
    }

    /// The same, paying for each repetition out of `budget`. The first attempt's deposit is the caller's to make.
    #[must_use]
    pub fn with_budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// How many attempts have failed.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Takes note of a failed attempt and says how long to wait before the next one, or `None` to give up.
    ///
    /// `elapsed` is the time since the first attempt began.
    pub fn next_delay(&mut self, error: &Error, elapsed: Duration) -> Option<Duration> {
        self.made = self.made.saturating_add(1);
        match self.decide(error, elapsed) {
            Ok(delay) => Some(delay),
            Err(stop) => {
                self.stopped = Some(stop);
                None
            }
        }
    }

    fn decide(&mut self, error: &Error, elapsed: Duration) -> Result<Duration, Stop> {
        if !self.may_repeat(error) {
            return Err(Stop::NotRepeatable);
        }
        if self.made >= self.max_attempts {
            return Err(Stop::MaxAttempts);
        }
        let hint = error.retry_after().unwrap_or(Duration::ZERO);
        let delay = self.spread.apply(self.delays.next()).max(hint);
        if let Some(deadline) = self.total_deadline
            && elapsed.saturating_add(delay) >= deadline
        {
            return Err(if elapsed.saturating_add(hint) >= deadline && !hint.is_zero() {
                Stop::HintBeyondDeadline
            } else {
                Stop::TotalDeadline
            });
        }
        // Last, so that nothing is paid for a repetition that does not take place.
        if self.budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
            return Err(Stop::Budget);
        }
        Ok(delay)
    }

    fn may_repeat(&self, error: &Error) -> bool {
        if error.retry() == Retry::Exhausted {
            return false;
        }
        if self.idempotence == Idempotence::NotIdempotent && !error.had_no_effect() {
            return false;
        }
        match &self.retry_if {
            Some(Predicate(predicate)) => predicate(error),
            None => error.is_retryable(),
        }
    }

    /// The last error as the caller of the whole operation gets it, once [`next_delay`](Self::next_delay) has said no.
    ///
    /// When attempts, time or budget ran out, the error is marked [`Retry::Exhausted`] and its message tells how many
    /// attempts were made in what time. An error that could not be repeated at all is returned as it is, and so is the
    /// advice of one that asks to wait beyond the deadline: whoever has more time may follow it.
    #[must_use]
    pub fn conclude(&self, error: Error, elapsed: Duration) -> Error {
        let because = match self.stopped {
            None | Some(Stop::NotRepeatable) => return error,
            Some(Stop::MaxAttempts) => "all attempts were used up",
            Some(Stop::TotalDeadline) => "the total deadline leaves no time for another",
            Some(Stop::HintBeyondDeadline) => {
                return error
                    .context(self.summary("it asks for more time than the total deadline leaves", elapsed));
            }
            Some(Stop::Budget) => "the retry budget is empty: too large a share of all calls are repetitions",
        };
        let summary = self.summary(because, elapsed);
        // A predicate may have let a kind through that calls itself final; it stays final.
        error.exhausted().context(summary)
    }

    /// Whether the last failure deserves to be marked exhausted; for errors of the caller's own type.
    pub(super) fn is_exhausted(&self) -> bool {
        !matches!(
            self.stopped,
            None | Some(Stop::NotRepeatable | Stop::HintBeyondDeadline)
        )
    }

    fn summary(&self, because: &str, elapsed: Duration) -> String {
        let plural = if self.made == 1 { "" } else { "s" };
        format!(
            "gave up after {} attempt{plural} in {elapsed:.1?} ({because})",
            self.made
        )
    }
}

/// Spreads delays according to the policy's jitter.
#[derive(Debug)]
struct Spread {
    jitter: Jitter,
    /// The bounds of decorrelated jitter.
    shortest: Duration,
    longest: Duration,
    previous: Duration,
    random: fastrand::Rng,
}

impl Spread {
    fn new(policy: &Policy) -> Self {
        let (shortest, longest) = match policy.backoff {
            Backoff::Fixed { delay } => (delay, delay),
            Backoff::Exponential { initial, max, .. } => (initial.min(max), max),
        };
        Self {
            jitter: policy.jitter,
            shortest,
            longest,
            previous: shortest,
            random: policy
                .seed
                .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
        }
    }

    fn apply(&mut self, delay: Duration) -> Duration {
        let nanos = nanos(delay);
        let spread = match self.jitter {
            Jitter::None => nanos,
            Jitter::Full => self.random.u64(0..=nanos),
            Jitter::Proportional(share) => {
                let band = Duration::try_from_secs_f64(delay.as_secs_f64() * share).unwrap_or(Duration::ZERO);
                let band = self::nanos(band).min(nanos);
                self.random.u64(nanos - band..=nanos.saturating_add(band))
            }
            Jitter::Decorrelated => {
                let lowest = self::nanos(self.shortest);
                let highest = self::nanos(self.previous).saturating_mul(3).max(lowest);
                self.random.u64(lowest..=highest).min(self::nanos(self.longest))
            }
        };
        self.previous = Duration::from_nanos(spread);
        self.previous
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::retry::BudgetPolicy;

    const MS: Duration = Duration::from_millis(1);

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "connection refused")
    }

    fn policy(jitter: Jitter) -> Policy {
        Policy::development()
            .with_max_attempts(u32::MAX)
            .with_backoff(Backoff::Exponential {
                initial: 100 * MS,
                factor: 2.0,
                max: 1_000 * MS,
            })
            .with_jitter(jitter)
            .without_total_deadline()
    }

    fn delays(policy: &Policy, count: usize) -> Vec<Duration> {
        let mut attempts = policy.start(Idempotence::Idempotent);
        (0..count)
            .map_while(|_| attempts.next_delay(&unavailable(), Duration::ZERO))
            .collect()
    }

    #[test]
    fn exponential_delays_double_up_to_the_longest() {
        let delays = delays(&policy(Jitter::None), 6);
        for (delay, expected) in delays.iter().zip([100, 200, 400, 800, 1_000, 1_000]) {
            assert!(delay.abs_diff(expected * MS) < MS, "{delays:?}");
        }
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_follows_the_seed() {
        for seed in 0..200 {
            for (index, delay) in delays(&policy(Jitter::Full).with_seed(seed), 5)
                .iter()
                .enumerate()
            {
                assert!(*delay <= 100 * MS * 2_u32.pow(index as u32) + MS);
            }
            for delay in delays(&policy(Jitter::Proportional(0.3)).with_seed(seed), 1) {
                assert!((70 * MS..=130 * MS).contains(&delay), "{delay:?}");
            }
            for delay in delays(&policy(Jitter::Decorrelated).with_seed(seed), 20) {
                assert!((100 * MS..=1_000 * MS).contains(&delay), "{delay:?}");
            }
        }
        let seeded = policy(Jitter::Full).with_seed(7);
        assert_eq!(delays(&seeded, 5), delays(&seeded, 5));
        assert_ne!(delays(&seeded, 5), delays(&policy(Jitter::Full).with_seed(8), 5));
    }

    #[test]
    fn repeats_only_what_the_error_and_the_operation_allow() {
        let policy = policy(Jitter::None);
        let may = |error: Error, idempotence| {
            policy
                .start(idempotence)
                .next_delay(&error, Duration::ZERO)
                .is_some()
        };
        use Idempotence::{Idempotent, NotIdempotent};
        assert!(may(unavailable(), Idempotent));
        assert!(!may(unavailable(), NotIdempotent));
        assert!(may(unavailable().without_effect(), NotIdempotent));
        assert!(!may(Error::invalid_argument("bad"), Idempotent));
        assert!(!may(unavailable().exhausted(), Idempotent));
    }

    #[test]
    fn a_predicate_replaces_the_advice_of_the_error_but_not_the_two_rules() {
        let policy = policy(Jitter::None).with_retry_if(|error| error.kind() == ErrorKind::Conflict);
        let conflict = Error::new(ErrorKind::Conflict, "stale");
        let mut attempts = policy.start(Idempotence::Idempotent);
        assert!(attempts.next_delay(&conflict, Duration::ZERO).is_some());
        assert!(attempts.next_delay(&unavailable(), Duration::ZERO).is_none());
        let mut attempts = policy.start(Idempotence::NotIdempotent);
        assert!(attempts.next_delay(&conflict, Duration::ZERO).is_none());
    }

    #[test]
    fn a_hint_lengthens_the_delay_and_is_kept_when_it_does_not_fit() {
        let policy = policy(Jitter::None).with_total_deadline(2_000 * MS);
        let wait = |delay| unavailable().with_retry(Retry::After(delay));
        let mut attempts = policy.start(Idempotence::Idempotent);
        assert_eq!(
            attempts.next_delay(&wait(700 * MS), Duration::ZERO),
            Some(700 * MS)
        );
        assert_eq!(attempts.next_delay(&wait(1_500 * MS), 700 * MS), None);
        let last = attempts.conclude(wait(1_500 * MS), 700 * MS);
        assert_eq!(last.retry_after(), Some(1_500 * MS));
        assert!(last.message().contains("2 attempts in 700.0ms"), "{last}");
    }

    #[test]
    fn the_last_error_is_marked_and_tells_attempts_time_and_reason() {
        let mut attempts = policy(Jitter::None)
            .with_max_attempts(1)
            .start(Idempotence::Idempotent);
        assert_eq!(attempts.next_delay(&unavailable(), 3 * MS), None);
        let last = attempts.conclude(unavailable(), 3 * MS);
        assert_eq!(last.retry(), Retry::Exhausted);
        assert_eq!(
            last.to_string(),
            "gave up after 1 attempt in 3.0ms (all attempts were used up): connection refused (unavailable)"
        );
    }

    #[test]
    fn an_empty_budget_stops_repetitions() {
        let budget = Budget::new(&BudgetPolicy::default().with_min_per_second(0));
        let mut attempts = policy(Jitter::None)
            .start(Idempotence::Idempotent)
            .with_budget(&budget);
        assert_eq!(attempts.next_delay(&unavailable(), Duration::ZERO), None);
        let last = attempts.conclude(unavailable(), Duration::ZERO);
        assert_eq!(last.retry(), Retry::Exhausted);
        assert!(last.message().contains("budget"), "{last}");
    }
}
