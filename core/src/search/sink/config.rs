//! The settings of a sink.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Problems, Validate, humane};

/// How a [`BulkSink`](super::BulkSink) gathers documents into bulk writes.
///
/// ```
/// use infra_core::config::Validate;
/// use infra_core::search::BulkSinkConfig;
///
/// let config = BulkSinkConfig::production().with_workers(8);
/// assert!(config.check().is_ok());
/// assert!(config.with_batch(0, 0).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BulkSinkConfig {
    /// A worker writes when it has gathered this many bytes of documents. Default: 1 MiB.
    pub max_batch_bytes: usize,
    /// A worker writes when it has gathered this many documents. Default: 1000.
    pub max_batch_documents: usize,
    /// No document waits longer than this to be written. Default: 5 s.
    #[serde(with = "humane")]
    pub flush_interval: Duration,
    /// How many bulk writes run at once, 1 to 64. Default: 2; in production 4.
    pub workers: usize,
    /// Bytes of documents that are accepted and not yet written; further callers wait. Default: 8 MiB; in production 32 MiB.
    pub max_buffered_bytes: usize,
}

impl Default for BulkSinkConfig {
    /// The development profile.
    fn default() -> Self {
        Self::development()
    }
}

impl BulkSinkConfig {
    /// 1 MiB, 5 s, two workers.
    #[must_use]
    pub fn development() -> Self {
        Self {
            max_batch_bytes: 1 << 20,
            max_batch_documents: 1_000,
            flush_interval: Duration::from_secs(5),
            workers: 2,
            max_buffered_bytes: 8 << 20,
        }
    }

    /// 1 MiB, 5 s, four workers.
    #[must_use]
    pub fn production() -> Self {
        Self {
            workers: 4,
            max_buffered_bytes: 32 << 20,
            ..Self::development()
        }
    }

    /// Sets at how many bytes and at how many documents a worker writes.
    #[must_use]
    pub fn with_batch(mut self, bytes: usize, documents: usize) -> Self {
        self.max_batch_bytes = bytes;
        self.max_batch_documents = documents;
        self
    }

    /// Sets how long a document may wait.
    #[must_use]
    pub fn with_flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// Sets how many bulk writes run at once.
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets how many bytes may be accepted and not yet written.
    #[must_use]
    pub fn with_max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.max_buffered_bytes = bytes;
        self
    }
}

impl Validate for BulkSinkConfig {
    fn validate(&self, problems: &mut Problems) {
        let most = 1 << 30;
        for (name, value, most) in [
            ("max_batch_bytes", self.max_batch_bytes, most),
            ("max_batch_documents", self.max_batch_documents, 1_000_000),
            ("workers", self.workers, 64),
            ("max_buffered_bytes", self.max_buffered_bytes, most),
        ] {
            problems.ensure(
                (1..=most).contains(&value),
                name,
                format!("must lie between 1 and {most}"),
            );
        }
        problems.ensure(
            self.flush_interval >= Duration::from_millis(1)
                && self.flush_interval <= Duration::from_secs(3600),
            "flush_interval",
            "must lie between 1ms and 1h",
        );
    }
}
