//! How long a thing lives, said in words rather than with an `Option<Duration>`.

use std::time::Duration;

use crate::capability::Limits;
use crate::error::Result;

/// A time to live.
///
/// ```
/// use infra_core::Ttl;
/// assert_eq!(Ttl::secs(600), Ttl::After(std::time::Duration::from_secs(600)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// It does not expire.
    Never,
    /// It expires this long after the operation that sets it.
    After(Duration),
}

impl Ttl {
    /// Expires after whole seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self::After(Duration::from_secs(seconds))
    }

    /// Expires after whole milliseconds.
    #[must_use]
    pub const fn millis(milliseconds: u64) -> Self {
        Self::After(Duration::from_millis(milliseconds))
    }

    /// The duration, or `None` for [`Ttl::Never`].
    #[must_use]
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(duration),
        }
    }

    /// Refuses what `limits` do not allow; [`Ttl::Never`] always passes.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn check(self, limits: &Limits) -> Result<()> {
        self.duration()
            .map_or(Ok(()), |duration| limits.check_ttl(duration))
    }
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}
