//! The clock of a snowflake generator: wall time, and a way to wait for it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a snowflake generator asks of a clock. Replace it in tests, to turn it back.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall time, since 1970-01-01 00:00:00 UTC. It may go back.
    fn since_unix_epoch(&self) -> Duration;

    /// Blocks the thread for about `duration`: a few milliseconds at most.
    fn pause(&self, duration: Duration);
}

crate::assert_object_safe!(Clock);

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// How late an operating system may wake a thread up; the rest of a pause is spent yielding.
const OVERSLEEP: Duration = Duration::from_micros(120);

impl Clock for SystemClock {
    fn since_unix_epoch(&self) -> Duration {
        // A clock before 1970 is as wrong as one that stands at 1970: both are before any epoch of ours.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn pause(&self, duration: Duration) {
        match duration.checked_sub(OVERSLEEP) {
            Some(long) if !long.is_zero() => std::thread::sleep(long),
            _ => std::thread::yield_now(),
        }
    }
}
