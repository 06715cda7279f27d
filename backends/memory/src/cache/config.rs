//! How large the in-process cache may grow and what it accepts; plain data.

use infra_core::capability::Limits;
use infra_core::config::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// The configuration of a [`MemoryCache`](super::MemoryCache).
///
/// ```
/// use infra_core::config::Validate;
/// use infra_memory::MemoryCacheConfig;
///
/// let config = MemoryCacheConfig::development().with_key_prefix("im:").with_max_bytes(8 << 20);
/// assert!(config.check().is_ok());
///
/// let error = MemoryCacheConfig::default().with_max_bytes(0).with_max_key_bytes(0).check().unwrap_err();
/// assert!(error.message().contains("max_bytes") && error.message().contains("max_key_bytes"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryCacheConfig {
    /// How many keys are kept at most. Default: 1,000,000.
    pub max_entries: u64,
    /// How many bytes the keys and values together may take, book-keeping included (an estimate). Default: 256 MiB.
    pub max_bytes: u64,
    /// How many locks may be held and waited for at the same time. Default: 100,000.
    pub max_locks: usize,
    /// Put before every key, lock names included; taken off what a scan returns. Default: nothing.
    pub key_prefix: String,
    /// The longest key in bytes, the prefix not counted. Default: 1024.
    pub max_key_bytes: usize,
    /// The largest value, field or member in bytes. Default: 1 MiB.
    pub max_value_bytes: usize,
}

impl Default for MemoryCacheConfig {
    fn default() -> Self {
        Self {
            max_entries: 1_000_000,
            max_bytes: 256 << 20,
            max_locks: 100_000,
            key_prefix: String::new(),
            max_key_bytes: Limits::DEFAULT.max_key_bytes,
            max_value_bytes: Limits::DEFAULT.max_value_bytes,
        }
    }
}

impl MemoryCacheConfig {
    /// For a developer's machine: 100,000 keys, 64 MiB.
    #[must_use]
    pub fn development() -> Self {
        Self::default().with_max_entries(100_000).with_max_bytes(64 << 20)
    }

    /// For a service: 4,000,000 keys, 1 GiB.
    #[must_use]
    pub fn production() -> Self {
        Self::default()
            .with_max_entries(4_000_000)
            .with_max_bytes(1 << 30)
    }

    /// The same configuration with another number of keys.
    #[must_use]
    pub fn with_max_entries(mut self, entries: u64) -> Self {
        self.max_entries = entries;
        self
    }

    /// The same configuration with another number of bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The same configuration with another number of locks.
    #[must_use]
    pub fn with_max_locks(mut self, locks: usize) -> Self {
        self.max_locks = locks;
        self
    }

    /// The same configuration with another key prefix.
    #[must_use]
    pub fn with_key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// The same configuration with another longest key.
    #[must_use]
    pub fn with_max_key_bytes(mut self, bytes: usize) -> Self {
        self.max_key_bytes = bytes;
        self
    }

    /// The same configuration with another largest value.
    #[must_use]
    pub fn with_max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    pub(super) fn limits(&self) -> Limits {
        let ttl = Limits::DEFAULT;
        Limits::DEFAULT
            .with_max_key_bytes(self.max_key_bytes)
            .with_max_value_bytes(self.max_value_bytes)
            .with_ttl(ttl.min_ttl, ttl.max_ttl, std::time::Duration::ZERO)
    }
}

impl Validate for MemoryCacheConfig {
    fn validate(&self, problems: &mut Problems) {
        for (path, value) in [
            ("max_entries", self.max_entries),
            ("max_bytes", self.max_bytes),
            ("max_locks", self.max_locks as u64),
            ("max_key_bytes", self.max_key_bytes as u64),
        ] {
            problems.ensure(value > 0, path, "must be at least 1");
        }
        problems.ensure(
            self.max_value_bytes as u64 <= self.max_bytes,
            "max_value_bytes",
            "must not be above `max_bytes`",
        );
    }
}
