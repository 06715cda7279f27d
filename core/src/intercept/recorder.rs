//! Remembering calls, for assertions.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::interceptor::{Exit, Interceptor, Outcome, Scope};
use super::method::Call;

/// How many calls a recorder keeps unless told otherwise.
const DEFAULT_CAPACITY: usize = 10_000;

/// Keeps the calls that ended, oldest first, for tests to look at.
///
/// Outermost it records what the caller saw; innermost, what reached the backend, each attempt by itself. It keeps the
/// newest 10,000 calls unless told otherwise, and counts those that it had to forget.
///
/// ```
/// use std::sync::Arc;
/// use infra_core::intercept::{Recorder, Stack};
///
/// let recorder = Arc::new(Recorder::new());
/// let stack = Stack::new().with_shared(recorder.clone());
/// assert!(recorder.calls().is_empty());
/// ```
#[derive(Debug)]
pub struct Recorder {
    capacity: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    calls: VecDeque<Recorded>,
    forgotten: u64,
}

/// A call that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// What was called: `"cache.get"`.
    pub label: &'static str,
    /// The backend that served it.
    pub backend: &'static str,
    /// The first `&str` argument.
    pub subject: Option<String>,
    /// How many times it had been started when it ended here.
    pub attempt: u32,
    /// How it ended: `"ok"`, the name of an error's kind, `"cancelled"` or `"panicked"`.
    pub outcome: &'static str,
    /// When it began to be recorded: with the call, or with the attempt where the recorder stands inside a retry.
    pub began: Instant,
    /// How long it took.
    pub elapsed: Duration,
}

impl Recorder {
    /// Keeps the newest 10,000 calls.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// Keeps the newest `capacity` calls.
    #[must_use]
    pub const fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            kept: Mutex::new(Kept {
                calls: VecDeque::new(),
                forgotten: 0,
            }),
        }
    }

    /// The calls that are kept, in the order in which they ended.
    #[must_use]
    pub fn calls(&self) -> Vec<Recorded> {
        self.lock().calls.iter().cloned().collect()
    }

    /// Only what was called, in the order in which it ended: `["cache.get", "cache.set"]`.
    #[must_use]
    pub fn labels(&self) -> Vec<&'static str> {
        self.lock().calls.iter().map(|call| call.label).collect()
    }

    /// The calls of one method, named by its label.
    #[must_use]
    pub fn of(&self, label: &str) -> Vec<Recorded> {
        self.lock()
            .calls
            .iter()
            .filter(|call| call.label == label)
            .cloned()
            .collect()
    }

    /// How many calls of one method are kept.
    #[must_use]
    pub fn count(&self, label: &str) -> usize {
        self.lock()
            .calls
            .iter()
            .filter(|call| call.label == label)
            .count()
    }

    /// How many calls were dropped because there were more than the capacity.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Interceptor for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn repeats(&self) -> bool {
        false
    }

    fn exit(&self, call: &Call<'_>, _: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let recorded = Recorded {
            label: call.method().label(),
            backend: call.backend(),
            subject: call.subject().map(str::to_owned),
            attempt: call.attempt(),
            outcome: outcome.label(),
            began: outcome.began(),
            elapsed: outcome.elapsed(),
        };
        let mut kept = self.lock();
        if kept.calls.len() >= self.capacity {
            kept.calls.pop_front();
            kept.forgotten += 1;
        }
        if self.capacity > 0 {
            kept.calls.push_back(recorded);
        }
        Exit::Done
    }
}
