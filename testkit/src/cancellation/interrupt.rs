//! Stopping a future at one await point.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;

/// When a future is dropped that is pending for the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At once, while it waits for something.
    Waiting,
    /// When it was woken and was not polled again: what it waited for has been handed to it.
    Woken,
}

impl Moment {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Waiting, Self::Woken];
}

/// What became of a future.
#[derive(Debug, PartialEq, Eq)]
pub enum End<T> {
    /// It was ready before it could be dropped.
    Completed(T),
    /// It was dropped at an await point.
    Dropped,
    /// It was not woken within the patience, and was dropped.
    Stuck,
}

/// Polls `future` at most `polls` times, waiting each time until it is woken, and drops it; with 0 polls it never begins.
///
/// Waits at most `patience` for each waking; a paused clock moves on meanwhile, as always when everything waits.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// use std::time::Duration;
/// use infra_testkit::cancellation::{End, Moment, polls_then_drop};
///
/// let two_pauses = || async {
///     tokio::time::sleep(Duration::from_secs(1)).await;
///     tokio::time::sleep(Duration::from_secs(1)).await;
///     "done"
/// };
/// let patience = Duration::from_secs(60);
/// assert_eq!(polls_then_drop(two_pauses(), 2, Moment::Waiting, patience).await, End::Dropped);
/// assert_eq!(polls_then_drop(two_pauses(), 3, Moment::Waiting, patience).await, End::Completed("done"));
/// assert_eq!(polls_then_drop(std::future::pending::<()>(), 2, Moment::Waiting, patience).await, End::Stuck);
/// # });
/// ```
pub async fn polls_then_drop<F: Future>(
    future: F,
    polls: usize,
    moment: Moment,
    patience: Duration,
) -> End<F::Output> {
    let mut future = Box::pin(future);
    let alarm = Arc::new(Alarm(Notify::new()));
    let waker = Waker::from(Arc::clone(&alarm));
    for poll in 1..=polls {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return End::Completed(value);
        }
        if poll == polls && moment == Moment::Waiting {
            break;
        }
        if tokio::time::timeout(patience, alarm.0.notified()).await.is_err() {
            return End::Stuck;
        }
    }
    End::Dropped
}

/// Remembers that the future was woken.
struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}
