//! A sliding window over calls: a ring of time buckets, each a few atomic words.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// The window slides in steps of a tenth of its length; of a half where every order of events is tried.
pub(super) const BUCKETS: usize = if cfg!(all(test, interleave)) { 2 } else { 10 };

/// What the window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

/// The ring. Adding is one load and one addition while the bucket is current.
#[derive(Debug, Default)]
pub(super) struct Window {
    buckets: [Bucket; BUCKETS],
}

#[derive(Debug, Default)]
struct Bucket {
    calls: Tally,
    failures: Tally,
    slow: Tally,
}

impl Window {
    /// The number of the step of time that `since_start` falls into, from 1 on; 0 marks what was never written.
    pub(super) fn tick(since_start: Duration, length: Duration) -> u32 {
        let step = (saturating_nanos(length) / BUCKETS as u64).max(1);
        // Steps last 100 ms at the least, so this wraps after 13 years without a restart.
        ((saturating_nanos(since_start) / step) as u32).wrapping_add(1)
    }

    pub(super) fn record(&self, tick: u32, failed: bool, slow: bool) {
        let bucket = &self.buckets[tick as usize % BUCKETS];
        bucket.calls.add(tick);
        if failed {
            bucket.failures.add(tick);
        }
        if slow {
            bucket.slow.add(tick);
        }
    }

    /// What was recorded in the step `tick` and those before it that are still in the window.
    pub(super) fn totals(&self, tick: u32) -> Totals {
        let oldest = tick.saturating_sub(BUCKETS as u32 - 1).max(1);
        let mut totals = Totals::default();
        for bucket in &self.buckets {
            totals.calls += bucket.calls.read(oldest, tick);
            totals.failures += bucket.failures.read(oldest, tick);
            totals.slow += bucket.slow.read(oldest, tick);
        }
        totals
    }

    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            for tally in [&bucket.calls, &bucket.failures, &bucket.slow] {
                tally.0.store(0, Ordering::Relaxed);
            }
        }
    }
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A count with the step of time that it belongs to: the step above, the count below, in one word, so that a bucket starts
/// again from zero without anybody having to clear it first.
#[derive(Debug, Default)]
struct Tally(AtomicU64);

/// Counting stops here, far enough below the step's bits that racing additions cannot carry into them.
const FULL: u32 = u32::MAX - 0xFFFF;

impl Tally {
    fn add(&self, tick: u32) {
        let mut current = self.0.load(Ordering::Relaxed);
        loop {
            let (written, count) = ((current >> 32) as u32, current as u32);
            if written == tick {
                if count < FULL {
                    // If the bucket moves on in between, the call is counted one round later; no count is torn.
                    self.0.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
            if written > tick {
                // This thread was held up for a whole round: its call has left the window.
                return;
            }
            let first = u64::from(tick) << 32 | 1;
            match self
                .0
                .compare_exchange_weak(current, first, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(seen) => current = seen,
            }
        }
    }

    fn read(&self, oldest: u32, newest: u32) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        let written = (word >> 32) as u32;
        if (oldest..=newest).contains(&written) {
            u64::from(word as u32)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_buckets_leave_without_being_cleared() {
        let window = Window::default();
        for tick in 1..=10 {
            window.record(tick, tick % 2 == 0, tick == 10);
        }
        assert_eq!(
            window.totals(10),
            Totals {
                calls: 10,
                failures: 5,
                slow: 1
            }
        );
        assert_eq!(window.totals(11).calls, 9, "the first step has left");
        window.record(11, false, false);
        assert_eq!(window.totals(11).calls, 10);
        assert_eq!(window.totals(20).calls, 1);
        assert_eq!(window.totals(21), Totals::default());
        window.record(1, true, true);
        assert_eq!(
            window.totals(11).calls,
            10,
            "a latecomer does not overwrite a newer step"
        );
    }

    #[test]
    fn steps_are_a_tenth_of_the_window() {
        let tick = |ms| Window::tick(Duration::from_millis(ms), Duration::from_secs(1));
        assert_eq!((tick(0), tick(99), tick(100), tick(1_000)), (1, 1, 2, 11));
        assert_eq!(Window::tick(Duration::MAX, Duration::ZERO), 0_u32);
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let window = Window::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        window.record(3, true, false);
                    }
                });
            }
        });
        assert_eq!(
            window.totals(3),
            Totals {
                calls: 40_000,
                failures: 40_000,
                slow: 0
            }
        );
    }
}
