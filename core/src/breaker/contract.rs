//! The contract of a breaker, and the convenience over it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::permit::{Outcome, Permit, Settlement, Ticket};
use crate::error::{Error, ErrorKind, Failure, Result};

/// What a breaker does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It lets calls pass and counts them.
    Closed,
    /// It lets a few probes pass to see whether the resource has recovered.
    HalfOpen,
    /// It refuses calls.
    Open,
}

impl State {
    /// The name used in metric labels and log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether an operator decides instead of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// The breaker decides.
    #[default]
    Auto,
    /// Refuse every call.
    Open,
    /// Let every call pass; nothing is counted.
    Closed,
}

/// One circuit breaker, in front of one protected resource.
///
/// Business code uses [`BreakerExt::call`]. Decorators that cannot wrap a future use the permit: take one with
/// [`try_acquire`](Self::try_acquire), do the call, [`record`](Permit::record) how it ended.
///
/// # Contract
/// - No method does I/O or waits; acquiring and settling take no lock.
/// - A permit that is dropped without a record gives its place back and counts as nothing.
/// - The end of a call that began before the last change of state counts as nothing.
pub trait Breaker: fmt::Debug + Send + Sync + 'static {
    /// The name of the protected resource.
    fn name(&self) -> &str;

    /// Asks to make one call.
    ///
    /// # Errors
    /// [`CircuitOpen`](ErrorKind::CircuitOpen), without effect: while open with
    /// [`Retry::After`](crate::Retry::After) the time left, while all probes are out with [`Retry::Backoff`](crate::Retry::Backoff).
    fn try_acquire(&self) -> Result<Permit<'_>>;

    /// Takes note of how the call behind `ticket` ended; [`Permit`] calls it, exactly once.
    fn settle(&self, ticket: Ticket, settlement: Settlement);

    /// What the breaker would do with a call now.
    fn state(&self) -> State;

    /// Overrules the breaker, or lets it decide again from where it was.
    fn force(&self, force: Force);
}

/// Hands out breakers by name.
///
/// # Contract
/// - No I/O and no waiting: also the first call for a name returns at once.
/// - The same name gives the same breaker; the number of breakers is bounded.
pub trait BreakerProvider: fmt::Debug + Send + Sync + 'static {
    /// The breaker of this name, made at first use.
    fn breaker(&self, name: &str) -> Arc<dyn Breaker>;
}

crate::assert_object_safe!(Breaker, BreakerProvider);

/// The default view of how a call ended: a failure counts, unless the fault is the caller's own.
///
/// Cancellation, the kinds of [`ErrorKind::is_caller_fault`] and calls after shutdown are [`Outcome::Ignored`]: they say nothing about
/// the health of the resource.
pub fn classify<T, E: Failure>(result: &Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(failure) => outcome_of(failure.kind()),
    }
}

/// How a failure of this kind counts.
pub(crate) fn outcome_of(kind: ErrorKind) -> Outcome {
    if kind.is_caller_fault() || kind == ErrorKind::Closed {
        return Outcome::Ignored;
    }
    Outcome::Failure
}

/// Calls through a breaker; implemented for every [`Breaker`].
pub trait BreakerExt: Breaker {
    /// Does `operation` if the breaker lets it, and records how it ended as [`classify`] sees it.
    ///
    /// # Errors
    /// What `operation` returns; [`CircuitOpen`](ErrorKind::CircuitOpen) without calling it; for a probe of a half-open
    /// breaker that takes longer than the policy's `probeTimeout`, [`Timeout`](ErrorKind::Timeout).
    ///
    /// # Cancellation
    /// Dropping the future drops the operation, gives its place back and counts as nothing.
    fn call<T, E, F, Fut>(&self, operation: F) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send,
        E: Failure,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        self.call_with(classify, operation)
    }

    /// As [`call`](Self::call), with a view of one's own of what counts as a failure.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use infra_core::breaker::{BreakerExt, BreakerProvider, Breakers, BreakerConfig, Outcome, classify};
    /// use infra_core::{Error, ErrorKind, Result};
    ///
    /// let breaker = Breakers::new(BreakerConfig::development())?.breaker("quota-service");
    /// // A service that limits our rate is not unwell.
    /// let classify = |result: &Result<u32>| match result {
    ///     Err(error) if error.kind() == ErrorKind::RateLimited => Outcome::Ignored,
    ///     other => classify(other),
    /// };
    /// assert_eq!(breaker.call_with(classify, || async { Ok(7) }).await?, 7);
    /// # Ok::<(), Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    /// As [`call`](Self::call).
    fn call_with<T, E, C, F, Fut>(
        &self,
        classify: C,
        operation: F,
    ) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send,
        E: Failure,
        C: FnOnce(&Result<T, E>) -> Outcome + Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        async move {
            let permit = self.try_acquire()?;
            let started = Instant::now();
            let Some(limit) = permit.time_limit() else {
                let result = operation().await;
                let ended = Instant::now();
                permit.record_at(classify(&result), ended - started, ended);
                return result;
            };
            let (result, outcome) = match tokio::time::timeout(limit, operation()).await {
                Ok(result) => {
                    let outcome = classify(&result);
                    (result, outcome)
                }
                Err(_) => {
                    let error = Error::new(
                        ErrorKind::Timeout,
                        format!(
                            "the probe of {} did not finish within {limit:?} and was given up; it may have taken effect",
                            self.name()
                        ),
                    );
                    (
                        Err(E::from(error.at("breaker", "local", "call"))),
                        Outcome::Failure,
                    )
                }
            };
            let ended = Instant::now();
            permit.record_at(outcome, ended - started, ended);
            result
        }
    }
}

impl<B: Breaker + ?Sized> BreakerExt for B {}
