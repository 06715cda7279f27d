//! Assertions on what was called; a failure lists the calls.

use std::fmt::{self, Write as _};
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::intercept::{Recorded, Recorder};
use tokio::time::Instant;

/// So many calls are listed when an assertion fails.
const LISTED: usize = 60;

/// What was recorded up to now, narrowed step by step, to be asserted on.
///
/// It is a snapshot: calls that end later are not in it. Calls are in the order in which they ended. Every assertion panics
/// with the whole list, in which the calls that it was about are marked.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// use infra_core::ErrorKind;
/// use infra_core::cache::KeyValue;
/// use infra_core::intercept::Fault;
/// use infra_testkit::TestInfra;
///
/// let infra = TestInfra::new().hardened().unwrap();
/// infra.faults().on("cache.get").nth(1, Fault::Err(ErrorKind::Unavailable));
/// infra.cache().get("user:7").await.unwrap();
///
/// let calls = infra.calls();
/// calls.of("cache.get").with_subject("user:7").assert_count(2);
/// calls.of("cache.get").assert_outcomes(["unavailable", "ok"]);
/// calls.of("cache.set").assert_never();
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Calls {
    all: Vec<Recorded>,
    /// Which of them are left, by index.
    left: Vec<usize>,
    /// What they were narrowed by, in words.
    narrowed: Vec<String>,
    forgotten: u64,
}

impl From<&Recorder> for Calls {
    fn from(recorder: &Recorder) -> Self {
        let all = recorder.calls();
        Self {
            left: (0..all.len()).collect(),
            all,
            narrowed: Vec::new(),
            forgotten: recorder.forgotten(),
        }
    }
}

/// Narrowing.
impl Calls {
    /// Only calls of a method (`"cache.get"`) or of a component (`"cache.*"`).
    #[must_use]
    pub fn of(&self, label: &str) -> Self {
        self.narrow(format!("of {label}"), |call| is_of(call, label))
    }

    /// Only calls whose first `&str` argument was `subject`.
    #[must_use]
    pub fn with_subject(&self, subject: &str) -> Self {
        self.narrow(format!("with subject {subject:?}"), |call| {
            call.subject.as_deref() == Some(subject)
        })
    }

    /// Only calls that ended like this: `"ok"`, the name of an error's kind, `"cancelled"` or `"panicked"`.
    #[must_use]
    pub fn with_outcome(&self, outcome: &str) -> Self {
        self.narrow(format!("that ended {outcome:?}"), |call| call.outcome == outcome)
    }

    /// Only calls that failed with this kind.
    #[must_use]
    pub fn failed_with(&self, kind: ErrorKind) -> Self {
        self.with_outcome(kind.name())
    }

    /// Only calls that began at this moment or later.
    #[must_use]
    pub fn since(&self, moment: Instant) -> Self {
        self.narrow("since a moment".to_owned(), |call| call.began >= moment)
    }

    /// Only calls that began before this moment.
    #[must_use]
    pub fn until(&self, moment: Instant) -> Self {
        self.narrow("until a moment".to_owned(), |call| call.began < moment)
    }

    /// Only calls that ended after the first call of `first` and before the next one of `last` after that. None, if either is
    /// missing.
    #[must_use]
    pub fn between(&self, first: &str, last: &str) -> Self {
        let position =
            |label: &str, from: usize| (from..self.all.len()).find(|index| is_of(&self.all[*index], label));
        let range = position(first, 0)
            .and_then(|begin| Some(begin + 1..position(last, begin + 1)?))
            .unwrap_or(0..0);
        let mut narrowed = self.clone();
        narrowed.left.retain(|index| range.contains(index));
        narrowed.narrowed.push(format!("between {first} and {last}"));
        narrowed
    }

    fn narrow(&self, by: String, keep: impl Fn(&Recorded) -> bool) -> Self {
        let mut narrowed = self.clone();
        narrowed.left.retain(|index| keep(&self.all[*index]));
        narrowed.narrowed.push(by);
        narrowed
    }
}

/// Looking.
impl Calls {
    /// The calls that are left.
    pub fn iter(&self) -> impl Iterator<Item = &Recorded> {
        self.left.iter().map(|index| &self.all[*index])
    }

    /// How many are left.
    #[must_use]
    pub fn count(&self) -> usize {
        self.left.len()
    }

    /// What was called.
    #[must_use]
    pub fn labels(&self) -> Vec<&'static str> {
        self.iter().map(|call| call.label).collect()
    }

    /// The subjects; `""` for a call without one.
    #[must_use]
    pub fn subjects(&self) -> Vec<&str> {
        self.iter()
            .map(|call| call.subject.as_deref().unwrap_or_default())
            .collect()
    }

    /// How the calls ended.
    #[must_use]
    pub fn outcomes(&self) -> Vec<&'static str> {
        self.iter().map(|call| call.outcome).collect()
    }

    /// How often each had been started.
    #[must_use]
    pub fn attempts(&self) -> Vec<u32> {
        self.iter().map(|call| call.attempt).collect()
    }
}

/// Asserting; each returns the calls, for the next assertion.
impl Calls {
    /// Exactly so many are left.
    ///
    /// # Panics
    /// Otherwise, as every assertion here; and when the recorder had to forget calls, so that nobody can know.
    #[track_caller]
    pub fn assert_count(&self, expected: usize) -> &Self {
        self.require(self.count() == expected, || {
            format!("expected {}, got {}", times(expected), times(self.count()))
        })
    }

    /// At least so many are left.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_at_least(&self, expected: usize) -> &Self {
        self.require(self.count() >= expected, || {
            format!(
                "expected at least {}, got {}",
                times(expected),
                times(self.count())
            )
        })
    }

    /// Exactly one is left.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_once(&self) -> &Self {
        self.assert_count(1)
    }

    /// None is left.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_never(&self) -> &Self {
        self.require(self.left.is_empty(), || {
            format!("expected no call, got {}", times(self.count()))
        })
    }

    /// Exactly these methods ended in this order.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_order<'a>(&self, labels: impl IntoIterator<Item = &'a str>) -> &Self {
        self.assert_all("in this order", labels, &self.labels())
    }

    /// These methods ended in this order, perhaps with others in between.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_sequence<'a>(&self, labels: impl IntoIterator<Item = &'a str>) -> &Self {
        let expected: Vec<&str> = labels.into_iter().collect();
        let mut calls = self.iter();
        let missing = expected
            .iter()
            .find(|label| !calls.by_ref().any(|call| is_of(call, label)));
        self.require(missing.is_none(), || {
            format!(
                "expected {expected:?} one after the other, but {:?} did not come after those before it",
                missing.copied().unwrap_or_default()
            )
        })
    }

    /// Exactly these subjects, in this order; `""` for none.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_subjects<'a>(&self, subjects: impl IntoIterator<Item = &'a str>) -> &Self {
        self.assert_all("with these subjects", subjects, &self.subjects())
    }

    /// Exactly these outcomes, in this order: `"ok"`, the name of an error's kind, `"cancelled"` or `"panicked"`.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_outcomes<'a>(&self, outcomes: impl IntoIterator<Item = &'a str>) -> &Self {
        self.assert_all("with these outcomes", outcomes, &self.outcomes())
    }

    /// Exactly these attempts, in this order. Seen from inside a retry, a call that is repeated once has the attempts 1 and 2.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_attempts(&self, attempts: impl IntoIterator<Item = u32>) -> &Self {
        self.assert_all("with these attempts", attempts, &self.attempts())
    }

    /// Each took at most so long.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_within(&self, bound: Duration) -> &Self {
        let slow = self.iter().filter(|call| call.elapsed > bound).count();
        self.require(slow == 0, || {
            format!("expected each within {bound:?}, but {} took longer", times(slow))
        })
    }

    /// Each took at least so long.
    ///
    /// # Panics
    /// As [`Calls::assert_count`].
    #[track_caller]
    pub fn assert_no_faster_than(&self, bound: Duration) -> &Self {
        let fast = self.iter().filter(|call| call.elapsed < bound).count();
        self.require(fast == 0, || {
            format!("expected each to take {bound:?}, but {} took less", times(fast))
        })
    }

    #[track_caller]
    fn assert_all<T: PartialEq<U> + fmt::Debug, U: fmt::Debug>(
        &self,
        what: &str,
        expected: impl IntoIterator<Item = T>,
        got: &[U],
    ) -> &Self {
        let expected: Vec<T> = expected.into_iter().collect();
        self.require(expected.as_slice() == got, || {
            format!("expected {what}:\n  {expected:?}\ngot:\n  {got:?}")
        })
    }

    #[track_caller]
    #[expect(clippy::panic, reason = "it is what an assertion is for")]
    fn require(&self, holds: bool, problem: impl FnOnce() -> String) -> &Self {
        if self.forgotten > 0 {
            panic!(
                "the recorder forgot the {} oldest calls, so that nothing can be asserted; clear it in between, or give it a \
                 larger capacity",
                self.forgotten
            );
        }
        if !holds {
            let narrowed = self.narrowed.join(" ");
            let subject = if narrowed.is_empty() { "calls" } else { "calls " };
            panic!("{subject}{narrowed}: {}\n{self}", problem());
        }
        self
    }
}

/// All calls, those that are left marked with `>`.
impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.all.iter().map(|call| call.began).min() else {
            return f.write_str("nothing was called");
        };
        let mut rows =
            vec![["#", "began", "took", "method", "attempt", "outcome", "subject"].map(str::to_owned)];
        for (index, call) in self.all.iter().enumerate().take(LISTED) {
            let mark = if self.left.contains(&index) { '>' } else { ' ' };
            rows.push([
                format!("{mark}{}", index + 1),
                format!("+{:?}", call.began.saturating_duration_since(first)),
                format!("{:?}", call.elapsed),
                call.label.to_owned(),
                call.attempt.to_string(),
                call.outcome.to_owned(),
                call.subject
                    .as_ref()
                    .map_or_else(String::new, |subject| format!("{subject:?}")),
            ]);
        }
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                write!(line, "{cell:<width$}  ")?;
            }
            writeln!(f, "  {}", line.trim_end())?;
        }
        match self.all.len().checked_sub(LISTED) {
            Some(more) if more > 0 => writeln!(f, "  … and {more} more"),
            _ => Ok(()),
        }
    }
}

fn is_of(call: &Recorded, label: &str) -> bool {
    let component = || call.label.split('.').next();
    call.label == label
        || label
            .strip_suffix(".*")
            .is_some_and(|wanted| component() == Some(wanted))
}

fn times(count: usize) -> String {
    match count {
        1 => "1 call".to_owned(),
        count => format!("{count} calls"),
    }
}
