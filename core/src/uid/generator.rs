//! The lock-free heart of snowflake ids: one word that only grows.

use std::time::{Duration, Instant};

use super::clock::Clock;
use super::config::UidConfig;
use super::layout::{MAX_MILLIS, SEQUENCES, Tick};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Hands out ticks, each once, in increasing order, none before its time.
///
/// The last tick given is one word. A claim moves it forward by compare-and-swap, to the present millisecond at least:
/// thus nothing is given twice whatever the clock does, and the sequence carries over into the millisecond by itself.
/// A tick that lies ahead of the clock is claimed first and waited for then, so that callers are served in the order of
/// their claims and nobody starves.
#[derive(Debug)]
pub(super) struct Generator {
    last: AtomicU64,
    epoch: Duration,
    borrow: Duration,
    max_wait: Duration,
}

/// Consecutive ticks, from `first` on, and whether time passed before they could be given out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimed {
    pub(super) first: Tick,
    pub(super) waited: bool,
}

/// Half a millisecond is too short to tell a queue of callers from a clock that stepped back; one is not.
const MILLISECOND: Duration = Duration::from_millis(1);

impl Generator {
    pub(super) fn new(config: &UidConfig) -> Self {
        Self {
            last: AtomicU64::new(0),
            epoch: Duration::from_millis(config.epoch_unix_millis()),
            borrow: config.borrow_ahead,
            max_wait: config.max_wait,
        }
    }

    /// Claims `count` consecutive ticks (at most 4096) and waits for the time of the last one.
    pub(super) fn claim(&self, count: u64, clock: &dyn Clock) -> Result<Claimed> {
        let mut last = self.last.load(Ordering::Acquire);
        loop {
            let now = self.now(clock)?;
            let first = Tick(last + 1).max(Tick::first_of(whole_millis(now)));
            let end = Tick(first.0 + count - 1);
            if end.millis() > MAX_MILLIS {
                return Err(worn_out());
            }
            let wait = self.until(first, now);
            if wait > self.max_wait {
                return Err(self.too_far_ahead(wait));
            }
            match self
                .last
                .compare_exchange_weak(last, end.0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) if self.until(end, now).is_zero() => {
                    return Ok(Claimed { first, waited: false });
                }
                Ok(_) => {
                    return self
                        .wait_for(end, clock)
                        .map(|()| Claimed { first, waited: true });
                }
                Err(moved) => last = moved,
            }
        }
    }

    /// Blocks until the clock has reached `tick`; a clock that steps back or stands still ends the wait.
    fn wait_for(&self, tick: Tick, clock: &dyn Clock) -> Result<()> {
        // Real time, not tokio's: it is this thread that waits.
        let begun = Instant::now();
        loop {
            let wait = self.until(tick, self.now(clock)?);
            if wait.is_zero() {
                return Ok(());
            }
            if wait > self.max_wait + MILLISECOND || begun.elapsed() > self.max_wait + 2 * MILLISECOND {
                return Err(stepped_back(wait));
            }
            clock.pause(wait);
        }
    }

    fn now(&self, clock: &dyn Clock) -> Result<Duration> {
        clock
            .since_unix_epoch()
            .checked_sub(self.epoch)
            .ok_or_else(before_epoch)
    }

    /// How long until a tick may be given out.
    fn until(&self, tick: Tick, now: Duration) -> Duration {
        Duration::from_millis(tick.millis()).saturating_sub(now + self.borrow)
    }

    /// Claims never run further ahead of the clock than `max_wait` and one millisecond: beyond that it was the clock.
    fn too_far_ahead(&self, wait: Duration) -> Error {
        if wait > self.max_wait + 2 * MILLISECOND {
            return stepped_back(wait);
        }
        Error::new(
            ErrorKind::ResourceExhausted,
            format!("the next free snowflake id is {wait:?} away, more than a call waits: demand is above 4096 per millisecond; spread the load over more instances"),
        )
        .with_retry(Retry::After(wait))
        .without_effect()
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / SEQUENCES)
}

fn before_epoch() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the clock stands before the epoch of snowflake ids; set the clock of this machine",
    )
    .without_effect()
}

fn worn_out() -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        "the 41 bits of milliseconds since the epoch are used up; choose a later epoch, or check the clock",
    )
    .without_effect()
}

fn stepped_back(behind: Duration) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the clock is {behind:?} behind the last snowflake id, more than is waited for; ids are refused until it has caught up: check time synchronisation"),
    )
    .with_retry(Retry::After(behind))
    .without_effect()
}
