//! The configuration of a snowflake generator.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::layout::MAX_INSTANCE;
use crate::config::{Compat, Problems, Validate, humane};

/// 2024-01-01 00:00:00 UTC in Unix milliseconds; ids last until 2093.
const OWN_EPOCH: u64 = 1_704_067_200_000;
/// Twitter's epoch, 2010-11-04 01:42:54.657 UTC, which GoChat uses; ids last until 2080.
const GOCHAT_EPOCH: u64 = 1_288_834_974_657;
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How snowflake ids are made.
///
/// ```
/// use infra_core::config::{Compat, Validate};
/// use infra_core::uid::UidConfig;
///
/// let config = UidConfig::production().with_compat(Compat::GoChat);
/// assert_eq!(config.epoch_unix_millis(), 1_288_834_974_657);
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct UidConfig {
    /// Whose ids ours must agree with. GoChat: Twitter's epoch, instances from 1. Default: [`Compat::Native`].
    pub compat: Compat,
    /// The millisecond 0 of ids, in Unix milliseconds; never change it once ids were made. Default: by `compat`, our own
    /// being 2024-01-01 00:00:00 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch_unix_millis: Option<u64>,
    /// The largest instance number that is leased. Default: 1023, as many as fit.
    pub max_instance: u16,
    /// How far ids may run ahead of the clock rather than wait, in whole milliseconds, 4096 ids each; count it into the
    /// quarantine of instance ids. Default: 0.
    #[serde(with = "humane")]
    pub borrow_ahead: Duration,
    /// How long one call may block its thread: for the ids of the next milliseconds when those of this one are taken, or
    /// for a clock that stepped back. Beyond it ids are refused. Default: 10 ms; 1 ms to 100 ms.
    #[serde(with = "humane")]
    pub max_wait: Duration,
}

impl Default for UidConfig {
    fn default() -> Self {
        Self::development()
    }
}

impl UidConfig {
    /// The defaults above.
    #[must_use]
    pub const fn development() -> Self {
        Self {
            compat: Compat::Native,
            epoch_unix_millis: None,
            max_instance: MAX_INSTANCE,
            borrow_ahead: Duration::ZERO,
            max_wait: Duration::from_millis(10),
        }
    }

    /// The same as in development: uniqueness knows no profiles.
    #[must_use]
    pub const fn production() -> Self {
        Self::development()
    }

    /// Sets whose ids ours must agree with.
    #[must_use]
    pub const fn with_compat(mut self, compat: Compat) -> Self {
        self.compat = compat;
        self
    }

    /// Sets the millisecond 0 of ids, in Unix milliseconds.
    #[must_use]
    pub const fn with_epoch_unix_millis(mut self, millis: u64) -> Self {
        self.epoch_unix_millis = Some(millis);
        self
    }

    /// Sets the largest instance number that is leased.
    #[must_use]
    pub const fn with_max_instance(mut self, number: u16) -> Self {
        self.max_instance = number;
        self
    }

    /// Sets how far ids may run ahead of the clock.
    #[must_use]
    pub const fn with_borrow_ahead(mut self, duration: Duration) -> Self {
        self.borrow_ahead = duration;
        self
    }

    /// Sets how long one call may block its thread, and thus how far the clock may step back and be waited for.
    #[must_use]
    pub const fn with_max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// The millisecond 0 of ids, in Unix milliseconds.
    #[must_use]
    pub fn epoch_unix_millis(&self) -> u64 {
        self.epoch_unix_millis.unwrap_or(match self.compat {
            Compat::Native => OWN_EPOCH,
            Compat::GoChat => GOCHAT_EPOCH,
        })
    }

    /// The instance numbers that may be leased.
    #[must_use]
    pub fn instances(&self) -> RangeInclusive<u16> {
        match self.compat {
            Compat::Native => 0..=self.max_instance,
            Compat::GoChat => 1..=self.max_instance,
        }
    }
}

impl Validate for UidConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.max_instance <= MAX_INSTANCE && !self.instances().is_empty(),
            "max_instance",
            "must fit into 10 bits: 1 to 1023",
        );
        problems.ensure(
            self.borrow_ahead <= Duration::from_secs(1),
            "borrow_ahead",
            "makes ids tell the wrong time: at most 1s",
        );
        problems.ensure(
            (SHORTEST_WAIT..=LONGEST_WAIT).contains(&self.max_wait),
            "max_wait",
            "blocks a thread: 1ms to 100ms",
        );
    }
}
