//! Capacity and rate of a bucket, in integers.

use std::fmt;

use crate::error::{Error, Result};

/// What a bucket may hold, and how fast it gains tokens.
///
/// The rate is kept in millionths of a token per second, so that buckets are exact in integer arithmetic: nothing drifts,
/// however long a service runs.
///
/// ```
/// use infra_core::rate_limit::Quota;
///
/// let quota = Quota::new(0.1, 1)?; // one password reset per ten seconds
/// assert_eq!((quota.rate(), quota.capacity()), (0.1, 1));
/// for (rate, capacity) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (1.0, 0), (1.0, u64::MAX)] {
///     assert!(Quota::new(rate, capacity).is_err());
/// }
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    capacity: u32,
    micro_rate: u64,
}

/// Millionths of a token per second in one token per second.
const MICRO: f64 = 1_000_000.0;

impl Quota {
    /// The highest rate, in tokens per second.
    pub const MAX_RATE: f64 = 1_000_000.0;
    /// The lowest rate: a token in eleven and a half days.
    pub const MIN_RATE: f64 = 0.000_001;
    /// The largest capacity.
    pub const MAX_CAPACITY: u64 = 1_000_000;

    /// A bucket of `capacity` tokens that gains `rate` tokens per second; the rate is rounded to a millionth.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for a rate that is not a number from [`MIN_RATE`](Self::MIN_RATE)
    /// to [`MAX_RATE`](Self::MAX_RATE), and for a capacity of zero or above [`MAX_CAPACITY`](Self::MAX_CAPACITY).
    pub fn new(rate: f64, capacity: u64) -> Result<Self> {
        Self::check_rate(rate)?;
        Self::check_capacity(capacity)?;
        Ok(Self {
            // Both were found to be in range.
            capacity: capacity as u32,
            micro_rate: ((rate * MICRO).round() as u64).max(1),
        })
    }

    pub(super) fn check_rate(rate: f64) -> Result<()> {
        if (Self::MIN_RATE..=Self::MAX_RATE).contains(&rate) {
            return Ok(());
        }
        Err(Error::invalid_config(
            "must be a number of tokens per second from 0.000001 to 1000000",
        ))
    }

    pub(super) fn check_capacity(capacity: u64) -> Result<()> {
        if (1..=Self::MAX_CAPACITY).contains(&capacity) {
            return Ok(());
        }
        Err(Error::invalid_config(
            "must be a number of tokens from 1 to 1000000",
        ))
    }

    /// Tokens per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.micro_rate as f64 / MICRO
    }

    /// Millionths of a token per second: the rate as an exact number.
    #[must_use]
    pub const fn micro_rate(&self) -> u64 {
        self.micro_rate
    }

    /// The most tokens that the bucket can hold.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Refuses a cost that is nothing, or that could never be paid.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn check_cost(&self, cost: u32) -> Result<()> {
        if cost == 0 {
            return Err(Error::invalid_argument(
                "a cost of 0 tokens checks nothing; give at least 1",
            ));
        }
        if cost > self.capacity {
            return Err(Error::invalid_argument(format!(
                "a cost of {cost} tokens is above the capacity of {}, so it could never pass; split the work or raise the capacity",
                self.capacity
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({}/s, {} at once)", self.rate(), self.capacity)
    }
}
