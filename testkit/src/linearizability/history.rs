//! What was called and answered, in the order of real time.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One call of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<O, A> {
    /// Who called, in messages.
    pub client: usize,
    /// What was called on: calls on different keys have nothing to do with each other.
    pub key: String,
    /// What was called.
    pub operation: O,
    /// What was answered; `None` where nobody knows whether the call took effect.
    pub answer: Option<A>,
    /// The place of the call's start among all starts and ends.
    pub invoked: u64,
    /// The place of its end; `u64::MAX` without an answer, since its effect may still come.
    pub returned: u64,
    /// When it began and ended, after the recorder was made.
    pub time: (Duration, Duration),
}

impl<O: Debug, A: Debug> fmt::Display for Entry<O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (began, ended) = self.time;
        write!(f, "client {:<2} {:>9}µs", self.client, began.as_micros())?;
        match &self.answer {
            Some(answer) => write!(
                f,
                " to {:>9}µs: {:?} -> {answer:?}",
                ended.as_micros(),
                self.operation
            ),
            None => write!(f, " to         ?µs: {:?} -> outcome unknown", self.operation),
        }
    }
}

/// Recorded calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<O, A> {
    /// In no particular order; [`Entry::invoked`] and [`Entry::returned`] tell it.
    pub entries: Vec<Entry<O, A>>,
}

impl<O, A> Default for History<O, A> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

/// Records calls of any number of threads. Clones record into the same history.
///
/// ```
/// use infra_testkit::linearizability::{Recorder, RegisterAnswer, RegisterModel, RegisterOperation, Verdict, check};
/// use std::time::Duration;
///
/// let recorder = Recorder::new();
/// let write = recorder.begin(0, "x", RegisterOperation::Set(1));
/// let read = recorder.begin(1, "x", RegisterOperation::Get);
/// read.answered(RegisterAnswer::Value(Some(1)));
/// write.answered(RegisterAnswer::Done);
/// let late = recorder.begin(1, "x", RegisterOperation::Get);
/// late.answered(RegisterAnswer::Value(None));
///
/// let verdict = check(&RegisterModel, &recorder.history(), Duration::from_secs(1));
/// assert!(matches!(verdict, Verdict::Violated(_)), "the last read is stale");
/// ```
#[derive(Debug)]
pub struct Recorder<O, A> {
    shared: Arc<Shared<O, A>>,
}

#[derive(Debug)]
struct Shared<O, A> {
    began: Instant,
    /// The next place in the order, and what is recorded. Starts and ends take their places under the same mutex: an end that is seen
    /// before a start has the smaller place.
    record: Mutex<(u64, Vec<Entry<O, A>>)>,
}

impl<O, A> Clone for Recorder<O, A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<O, A> Default for Recorder<O, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O, A> Recorder<O, A> {
    /// Nothing recorded yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                began: Instant::now(),
                record: Mutex::default(),
            }),
        }
    }

    /// Notes that a call starts. Do it before the call, and answer it after.
    ///
    /// A call that is dropped without a word, as in a future that was cancelled, has an unknown outcome.
    pub fn begin(&self, client: usize, key: impl Into<String>, operation: O) -> Call<O, A> {
        let now = self.shared.began.elapsed();
        let invoked = self.place();
        Call {
            recorder: self.clone(),
            entry: Some(Entry {
                client,
                key: key.into(),
                operation,
                answer: None,
                invoked,
                returned: u64::MAX,
                time: (now, now),
            }),
        }
    }

    fn place(&self) -> u64 {
        let mut record = self.lock();
        record.0 += 1;
        record.0
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Entry<O, A>>)> {
        self.shared.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Clone, A: Clone> Recorder<O, A> {
    /// What was recorded; calls under way are not part of it yet, so finish or drop them first.
    #[must_use]
    pub fn history(&self) -> History<O, A> {
        History {
            entries: self.lock().1.clone(),
        }
    }
}

/// A call under way; see [`Recorder::begin`].
#[must_use = "a call that is dropped at once is recorded as one of unknown outcome"]
#[derive(Debug)]
pub struct Call<O, A> {
    recorder: Recorder<O, A>,
    entry: Option<Entry<O, A>>,
}

impl<O, A> Call<O, A> {
    /// The call ended just now with this answer.
    pub fn answered(mut self, answer: A) {
        if let Some(mut entry) = self.entry.take() {
            entry.time.1 = self.recorder.shared.began.elapsed();
            entry.answer = Some(answer);
            let mut record = self.recorder.lock();
            record.0 += 1;
            entry.returned = record.0;
            record.1.push(entry);
        }
    }

    /// Nobody knows whether it took effect, or will.
    pub fn unknown(self) {
        drop(self);
    }

    /// It certainly has no effect and told nothing: it is left out.
    pub fn without_effect(mut self) {
        self.entry = None;
    }
}

impl<O, A> Drop for Call<O, A> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.recorder.lock().1.push(entry);
        }
    }
}
