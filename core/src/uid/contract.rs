//! The trait that business code calls.

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

use crate::error::Result;

/// The parts of a snowflake id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnowflakeParts {
    /// When it was made, to the millisecond.
    pub time: SystemTime,
    /// The instance that made it.
    pub instance: u16,
    /// Its number within the millisecond.
    pub sequence: u16,
}

impl SnowflakeParts {
    /// Puts the parts together.
    #[must_use]
    pub const fn new(time: SystemTime, instance: u16, sequence: u16) -> Self {
        Self {
            time,
            instance,
            sequence,
        }
    }
}

/// Unique ids.
///
/// # Contract
/// - Snowflake ids of one provider strictly increase; no two of a fleet are equal, whatever the clocks do.
/// - A provider whose instance id was lost returns [`LeaseLost`](crate::ErrorKind::LeaseLost), not an id.
/// - UUIDs are version 7 (RFC 9562) and increase within a process.
pub trait UidProvider: fmt::Debug + Send + Sync + 'static {
    /// A UUID of version 7.
    fn uuid(&self) -> Uuid;

    /// A snowflake id: 41 bits of milliseconds, 10 bits of instance, 12 bits of sequence; always positive.
    ///
    /// Does no I/O. When the 4096 ids of a millisecond are used up it waits for the next one, at most the configured bound.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost); [`Unavailable`](crate::ErrorKind::Unavailable) when the clock stepped
    /// back further than is tolerated; [`ResourceExhausted`](crate::ErrorKind::ResourceExhausted) when the wait would be too long.
    fn snowflake(&self) -> Result<i64>;

    /// Several snowflake ids at once, in increasing order.
    ///
    /// # Errors
    /// As [`UidProvider::snowflake`]; [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for more than 4096 ids.
    fn snowflakes(&self, count: usize) -> Result<Vec<i64>>;

    /// Takes a snowflake id apart.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a negative number, which is none.
    fn parse_snowflake(&self, id: i64) -> Result<SnowflakeParts>;
}

crate::assert_object_safe!(UidProvider);
