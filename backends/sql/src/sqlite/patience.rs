//! Waiting for a lock that another connection holds.
//!
//! SQLite's own busy handler would sleep in the driver's thread, where neither a dropped future nor a timeout reaches it;
//! so it is switched off and the waiting is done here.

use std::time::Duration;

use tokio::time::Instant;

/// The pauses between attempts; the last one repeats. As in SQLite's own busy handler.
const PAUSES: [u64; 9] = [1, 2, 5, 10, 15, 20, 25, 50, 100];

/// How long an operation still waits.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Instant,
    attempt: usize,
}

impl Patience {
    pub(crate) fn new(wait: Duration) -> Self {
        Self {
            until: Instant::now() + wait,
            attempt: 0,
        }
    }

    /// Pauses; false when the time is over and the operation should give up.
    pub(crate) async fn pause(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let pause = PAUSES.get(self.attempt).copied().unwrap_or(100);
        self.attempt += 1;
        tokio::time::sleep(Duration::from_millis(pause).min(left)).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gives_up_when_the_time_is_over() {
        let begun = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(2));
        let mut attempts = 0;
        while patience.pause().await {
            attempts += 1;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert!((20..40).contains(&attempts), "{attempts}");
        assert!(!Patience::new(Duration::ZERO).pause().await);
    }
}
