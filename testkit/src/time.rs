//! Time under control: moving a paused clock, and waiting for a condition with a bound.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(5);

/// So many times it is looked at after a shorter pause first: most conditions hold almost at once.
const SOON: usize = 10;

/// The shortest pause that the clock knows.
const SHORT_PAUSE: Duration = Duration::from_millis(1);

/// Moves the paused clock and lets every task that became ready run.
///
/// # Panics
/// When the clock is not paused: write `#[tokio::test(start_paused = true)]`.
pub async fn advance(duration: Duration) {
    tokio::time::advance(duration).await;
    // Tasks woken by the new time wake others in turn.
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// Waits until `condition` holds, looking again every 5 ms (at first sooner), and returns whether it did within `bound`.
///
/// On a paused clock it takes no time at all. Use it instead of a sleep that hopes to be long enough.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let done = Arc::new(AtomicBool::new(false));
/// let setter = done.clone();
/// tokio::spawn(async move {
///     tokio::time::sleep(Duration::from_secs(3)).await;
///     setter.store(true, Ordering::SeqCst);
/// });
/// assert!(infra_testkit::time::eventually(Duration::from_secs(5), async || done.load(Ordering::SeqCst)).await);
/// # });
/// ```
pub async fn eventually<F, R>(bound: Duration, mut condition: F) -> bool
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let deadline = Instant::now() + bound;
    let mut pauses = std::iter::repeat_n(SHORT_PAUSE, SOON).chain(std::iter::repeat(PAUSE));
    loop {
        if condition().await {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(pauses.next().unwrap_or(PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_never_holds_ends_at_the_bound() {
        let began = Instant::now();
        assert!(!eventually(Duration::from_secs(2), || std::future::ready(false)).await);
        assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_millis(2010));
    }

    #[tokio::test(start_paused = true)]
    async fn advancing_runs_what_became_ready() {
        let task = tokio::spawn(async {
            sleep(Duration::from_secs(60)).await;
            sleep(Duration::from_secs(60)).await;
        });
        tokio::task::yield_now().await;
        advance(Duration::from_secs(60)).await;
        assert!(!task.is_finished());
        advance(Duration::from_secs(60)).await;
        assert!(task.is_finished());
    }
}
