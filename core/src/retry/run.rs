//! Running an operation under a policy: the clock, the timers and the log lines around [`Attempts`].

use std::any::Any;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::attempts::Attempts;
use super::budget::Budget;
use super::policy::{Idempotence, Policy};
use crate::error::{Error, ErrorKind, Failure};

/// Runs an idempotent operation until it succeeds, cannot be repeated, or the policy or the budget says stop.
///
/// `operation` makes a fresh future for each attempt. It must be idempotent, since an attempt that failed or timed out may
/// have taken effect; for others there is [`run_not_idempotent`].
///
/// # Errors
/// The last error, marked [`Exhausted`](crate::Retry::Exhausted) when a repetition would have been allowed by its kind.
/// For [`Error`] itself the message also tells the number of attempts and the time. An attempt that the policy's
/// `attempt_timeout` or `total_deadline` cuts short fails with [`ErrorKind::Timeout`], with the failure of the attempt
/// before it as its source.
///
/// # Cancellation
/// Dropping the future drops the attempt at hand, or ends the wait; nothing goes on in the background.
pub async fn run<T, E, F, Fut>(policy: &Policy, budget: &Budget, operation: F) -> Result<T, E>
where
    E: Failure,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    repeat(policy, budget, Idempotence::Idempotent, operation).await
}

/// Runs an operation that must not take effect twice: repeated only while
/// [`Error::had_no_effect`](crate::Error::had_no_effect) says that the failed attempt changed nothing.
///
/// # Errors
/// As [`run`].
///
/// # Cancellation
/// As [`run`].
pub async fn run_not_idempotent<T, E, F, Fut>(policy: &Policy, budget: &Budget, operation: F) -> Result<T, E>
where
    E: Failure,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    repeat(policy, budget, Idempotence::NotIdempotent, operation).await
}

async fn repeat<T, E, F, Fut>(
    policy: &Policy,
    budget: &Budget,
    idempotence: Idempotence,
    mut operation: F,
) -> Result<T, E>
where
    E: Failure,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    budget.deposit();
    // Made at the first failure: a success pays for neither random numbers nor delays.
    let mut attempts: Option<Attempts> = None;
    let mut previous: Option<Error> = None;
    loop {
        let limit = attempt_limit(policy, started.elapsed());
        let failure = match bounded(limit, operation(), &mut previous).await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let elapsed = started.elapsed();
        let Some(error) = failure.as_error() else {
            return Err(failure);
        };
        let attempts = attempts.get_or_insert_with(|| policy.start(idempotence).with_budget(budget));
        let Some(delay) = attempts.next_delay(error, elapsed) else {
            return Err(conclude(attempts, failure, elapsed));
        };
        tracing::debug!(attempt = attempts.made(), ?delay, %error, "an attempt failed and will be repeated");
        previous = Some(error.clone());
        drop(failure);
        tokio::time::sleep(delay).await;
    }
}

/// The time for the next attempt: the policy's, or what the total deadline leaves.
fn attempt_limit(policy: &Policy, elapsed: Duration) -> Option<Duration> {
    let left = policy
        .total_deadline
        .map(|deadline| deadline.saturating_sub(elapsed));
    match (policy.attempt_timeout, left) {
        (Some(limit), Some(left)) => Some(limit.min(left)),
        (limit, left) => limit.or(left),
    }
}

async fn bounded<T, E, Fut>(
    limit: Option<Duration>,
    attempt: Fut,
    previous: &mut Option<Error>,
) -> Result<T, E>
where
    E: Failure,
    Fut: Future<Output = Result<T, E>>,
{
    let Some(limit) = limit else { return attempt.await };
    if let Ok(result) = tokio::time::timeout(limit, attempt).await {
        return result;
    }
    let mut error = Error::new(
        ErrorKind::Timeout,
        format!("the attempt did not finish within {limit:?}; it may or may not have taken effect"),
    );
    if let Some(previous) = previous.take() {
        error = error.with_source(previous);
    }
    Err(E::from(error))
}

/// The last failure as the caller gets it. Only [`Error`] itself can carry the summary; other types are marked.
fn conclude<E: Failure>(attempts: &Attempts, mut failure: E, elapsed: Duration) -> E {
    if let Some(error) = (&mut failure as &mut dyn Any).downcast_mut::<Error>() {
        *error = attempts.conclude(error.clone(), elapsed);
        return failure;
    }
    if attempts.is_exhausted() {
        failure.exhausted()
    } else {
        failure
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Retry;
    use crate::retry::{Backoff, Jitter};

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> Policy {
        Policy::development()
            .with_backoff(Backoff::Fixed { delay: SECOND })
            .with_jitter(Jitter::None)
            .without_total_deadline()
    }

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "connection refused")
    }

    #[tokio::test(start_paused = true)]
    async fn waits_between_attempts_and_returns_the_first_success() {
        let started = Instant::now();
        let calls = Cell::new(0);
        let result: Result<u32, Error> = run(&policy(), &Budget::unlimited(), || async {
            calls.set(calls.get() + 1);
            if calls.get() < 3 {
                Err(unavailable())
            } else {
                Ok(calls.get())
            }
        })
        .await;
        assert_eq!(result.expect("the third attempt succeeds"), 3);
        assert_eq!(started.elapsed(), 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_the_last_error_marked_with_attempts_and_elapsed_time() {
        let calls = Cell::new(0);
        let error = run(&policy(), &Budget::unlimited(), || async {
            calls.set(calls.get() + 1);
            Err::<(), _>(unavailable().at("cache", "redis", "get"))
        })
        .await
        .expect_err("always fails");
        assert_eq!(calls.get(), 3);
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Exhausted)
        );
        assert!(error.message().contains("3 attempts in 2.0s"), "{error}");
        assert_eq!(error.operation(), "get");
    }

    #[tokio::test(start_paused = true)]
    async fn each_attempt_is_bounded_and_the_whole_too() {
        let started = Instant::now();
        let calls = Cell::new(0);
        let policy = policy()
            .with_max_attempts(100)
            .with_attempt_timeout(3 * SECOND)
            .with_total_deadline(10 * SECOND);
        let error = run(&policy, &Budget::unlimited(), || async {
            calls.set(calls.get() + 1);
            if calls.get() == 2 {
                return Err(unavailable());
            }
            std::future::pending::<Result<(), Error>>().await
        })
        .await
        .expect_err("never finishes");
        // 3 s, wait 1, 0 s, wait 1, 3 s, wait 1, then the second that the deadline leaves.
        assert_eq!(started.elapsed(), 10 * SECOND);
        assert_eq!(calls.get(), 4);
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Timeout, Retry::Exhausted)
        );
        assert!(
            error.downcast_source::<Error>().is_some(),
            "the failure before it is kept"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_timed_out_is_not_repeated_unless_idempotent() {
        let calls = Cell::new(0);
        let policy = policy().with_attempt_timeout(SECOND);
        let error = run_not_idempotent(&policy, &Budget::unlimited(), || async {
            calls.set(calls.get() + 1);
            std::future::pending::<Result<(), Error>>().await
        })
        .await
        .expect_err("times out");
        assert_eq!(calls.get(), 1);
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_future_ends_the_attempts() {
        let calls = Cell::new(0);
        let (policy, budget) = (policy(), Budget::unlimited());
        let work = run(&policy, &budget, || async {
            calls.set(calls.get() + 1);
            Err::<(), _>(unavailable())
        });
        assert!(tokio::time::timeout(SECOND / 2, work).await.is_err());
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(calls.get(), 1);
    }

    #[derive(Debug)]
    enum Payment {
        Declined,
        Infrastructure(Error),
    }

    impl From<Error> for Payment {
        fn from(error: Error) -> Self {
            Self::Infrastructure(error)
        }
    }

    impl Failure for Payment {
        fn kind(&self) -> ErrorKind {
            self.as_error().map_or(ErrorKind::Conflict, Error::kind)
        }
        fn as_error(&self) -> Option<&Error> {
            match self {
                Self::Declined => None,
                Self::Infrastructure(error) => Some(error),
            }
        }
        fn exhausted(self) -> Self {
            match self {
                Self::Infrastructure(error) => Self::Infrastructure(error.exhausted()),
                Self::Declined => self,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn works_for_errors_of_the_callers_own() {
        let calls = Cell::new(0);
        let error = run(&policy(), &Budget::unlimited(), || async {
            calls.set(calls.get() + 1);
            Err::<(), _>(if calls.get() == 1 {
                Payment::from(unavailable())
            } else {
                Payment::Declined
            })
        })
        .await
        .expect_err("declined");
        assert!(matches!(error, Payment::Declined));
        assert_eq!(calls.get(), 2, "a failure of the business is final");

        let error = run(&policy(), &Budget::unlimited(), || async {
            Err::<(), _>(Payment::from(unavailable()))
        })
        .await
        .expect_err("unavailable");
        assert_eq!(error.as_error().map(Error::retry), Some(Retry::Exhausted));
    }
}
