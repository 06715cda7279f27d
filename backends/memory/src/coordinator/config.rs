//! The configuration of the in-process coordinator.

use std::time::Duration;

use infra_core::config::{Problems, Validate, humane};
use serde::{Deserialize, Serialize};

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// How an in-process coordinator behaves: how much it remembers and how long leases last.
///
/// ```
/// use std::time::Duration;
/// use infra_core::config::Validate;
/// use infra_memory::MemoryCoordinatorConfig;
///
/// let config = MemoryCoordinatorConfig::development().with_instance_id_quarantine(Duration::from_secs(1));
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryCoordinatorConfig {
    /// The most configuration keys, registered instances and leased instance ids, each. Default: 100 000.
    pub max_entries: usize,
    /// The most bytes of configuration keys and values together. Default: 64 MiB.
    pub max_config_bytes: usize,
    /// The most held locks and waiters for locks together. Default: 100 000.
    pub max_locks: usize,
    /// The most watches at one time, of the registry and of the configuration, each. Default: 10 000.
    pub max_watches: usize,
    /// How many past changes a watch can start from, of the registry and of the configuration, each. Default: 4096.
    pub history: usize,
    /// How many events a watch holds that were not read yet. Default: 1024.
    pub watch_buffer: usize,
    /// How long an instance id stays leased without renewal. Default: 30 s.
    #[serde(with = "humane")]
    pub instance_id_ttl: Duration,
    /// How long a freed instance id is not handed out again: at least the largest difference between the clocks of a
    /// fleet. Default: 5 s.
    #[serde(with = "humane")]
    pub instance_id_quarantine: Duration,
}

impl Default for MemoryCoordinatorConfig {
    fn default() -> Self {
        Self::development()
    }
}

impl MemoryCoordinatorConfig {
    /// The defaults above.
    #[must_use]
    pub const fn development() -> Self {
        Self {
            max_entries: 100_000,
            max_config_bytes: 64 * 1024 * 1024,
            max_locks: 100_000,
            max_watches: 10_000,
            history: 4096,
            watch_buffer: 1024,
            instance_id_ttl: Duration::from_secs(30),
            instance_id_quarantine: Duration::from_secs(5),
        }
    }

    /// The same as in development: an embedded coordinator has no servers to be careful about.
    #[must_use]
    pub const fn production() -> Self {
        Self::development()
    }

    /// Sets how many past changes a watch can start from.
    #[must_use]
    pub const fn with_history(mut self, changes: usize) -> Self {
        self.history = changes;
        self
    }

    /// Sets how many unread events a watch holds.
    #[must_use]
    pub const fn with_watch_buffer(mut self, events: usize) -> Self {
        self.watch_buffer = events;
        self
    }

    /// Sets the most configuration keys, registered instances and leased instance ids.
    #[must_use]
    pub const fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Sets the most bytes of configuration.
    #[must_use]
    pub const fn with_max_config_bytes(mut self, bytes: usize) -> Self {
        self.max_config_bytes = bytes;
        self
    }

    /// Sets the most held locks and waiters together.
    #[must_use]
    pub const fn with_max_locks(mut self, locks: usize) -> Self {
        self.max_locks = locks;
        self
    }

    /// Sets the most watches at one time.
    #[must_use]
    pub const fn with_max_watches(mut self, watches: usize) -> Self {
        self.max_watches = watches;
        self
    }

    /// Sets how long an instance id stays leased without renewal.
    #[must_use]
    pub const fn with_instance_id_ttl(mut self, ttl: Duration) -> Self {
        self.instance_id_ttl = ttl;
        self
    }

    /// Sets how long a freed instance id is not handed out again.
    #[must_use]
    pub const fn with_instance_id_quarantine(mut self, quarantine: Duration) -> Self {
        self.instance_id_quarantine = quarantine;
        self
    }
}

impl Validate for MemoryCoordinatorConfig {
    fn validate(&self, problems: &mut Problems) {
        for (path, size) in [
            ("max_entries", self.max_entries),
            ("max_config_bytes", self.max_config_bytes),
            ("max_locks", self.max_locks),
            ("max_watches", self.max_watches),
            ("watch_buffer", self.watch_buffer),
        ] {
            problems.ensure(size > 0, path, "must be at least 1");
        }
        problems.ensure(
            (Duration::from_millis(10)..=YEAR).contains(&self.instance_id_ttl),
            "instance_id_ttl",
            "must be between 10ms and a year",
        );
        problems.ensure(
            self.instance_id_quarantine <= YEAR,
            "instance_id_quarantine",
            "must be at most a year",
        );
    }
}
