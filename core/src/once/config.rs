//! The configuration of idempotent operations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Problems, Validate, humane};

/// How idempotent operations are kept.
///
/// ```
/// use infra_core::config::Validate;
/// use infra_core::once::OnceConfig;
///
/// let config = OnceConfig::production().with_prefix("orders:idempotent:");
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OnceConfig {
    /// What stands before every key in the store. Default: `idempotent:`.
    pub prefix: String,
    /// How long a claim stands without renewal, that is, how long the work of a crashed process blocks its key. Renewed
    /// every third of it while the work runs. Development: 10 s; production: 30 s.
    #[serde(with = "humane")]
    pub lease: Duration,
    /// The largest result that is stored, in bytes; the store's own limit applies as well. Default: 256 KiB.
    pub max_result_bytes: usize,
}

impl Default for OnceConfig {
    fn default() -> Self {
        Self::development()
    }
}

impl OnceConfig {
    /// Short leases, so that a restarted process goes on soon.
    #[must_use]
    pub fn development() -> Self {
        Self {
            prefix: "idempotent:".to_owned(),
            lease: Duration::from_secs(10),
            max_result_bytes: 256 * 1024,
        }
    }

    /// Leases that outlast a pause of the process or a fail-over of the store.
    #[must_use]
    pub fn production() -> Self {
        Self {
            lease: Duration::from_secs(30),
            ..Self::development()
        }
    }

    /// Sets what stands before every key.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long a claim stands without renewal.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the largest result that is stored.
    #[must_use]
    pub fn with_max_result_bytes(mut self, bytes: usize) -> Self {
        self.max_result_bytes = bytes;
        self
    }
}

impl Validate for OnceConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.lease >= Duration::from_millis(30),
            "lease",
            "must be at least 30ms: it is renewed every third of it",
        );
        problems.ensure(
            self.max_result_bytes > 0,
            "max_result_bytes",
            "must be at least 1",
        );
    }
}
