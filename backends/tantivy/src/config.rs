//! The configuration of the embedded search engine: plain data, two profiles, one validation. No I/O.

use std::path::PathBuf;
use std::time::Duration;

use infra_core::config::{Problems, Validate, humane};
use serde::{Deserialize, Serialize};

/// What tantivy accepts as the memory of one writer thread.
const HEAP_PER_THREAD: std::ops::RangeInclusive<usize> = 15_000_000..=4_000_000_000;

/// Where the indexes live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Storage {
    /// In memory: gone with the process.
    Memory,
    /// In this directory, which belongs to one process at a time; it is created when it does not exist.
    Directory(PathBuf),
}

/// How far an acknowledged write has travelled on a directory index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// Handed to the operating system: it survives a crash of the process, not one of the machine.
    Process,
    /// Flushed to the disk as well (one flush per group of concurrent calls): it survives a power cut.
    Machine,
}

/// The settings of [`TantivySearch`](crate::TantivySearch).
///
/// ```
/// use infra_core::config::Validate;
/// use infra_tantivy::TantivyConfig;
///
/// let config = TantivyConfig::development().with_directory("data/search");
/// assert!(config.check().is_ok());
/// assert!(config.with_max_page_size(0).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct TantivyConfig {
    /// Where the indexes live. Default: in memory.
    pub storage: Storage,
    /// What an acknowledged write survives, on a directory.
    pub durability: Durability,
    /// How long a write may stay invisible to searches. At least 1 ms.
    #[serde(with = "humane")]
    pub refresh_interval: Duration,
    /// Memory of the writer of one index, in bytes, shared by its threads; at least 15 MB for each.
    pub writer_heap_bytes: usize,
    /// Indexing threads of one index, 1 to 8.
    pub writer_threads: usize,
    /// Acknowledged but unrefreshed document bytes of one index at which a refresh happens early.
    pub max_pending_bytes: usize,
    /// The most documents in one bulk write.
    pub max_bulk_documents: usize,
    /// The largest document, in bytes of JSON.
    pub max_document_bytes: usize,
    /// The most hits on one page.
    pub max_page_size: u32,
    /// How deep numbered pages go: page × size is at most this. Cursors go to any depth.
    pub max_page_depth: u32,
    /// The most indexes; each costs threads and a writer.
    pub max_indexes: usize,
    /// Writes running or waiting at once; further callers wait.
    pub max_concurrent_writes: usize,
    /// Searches and reads running at once; further callers wait.
    pub max_concurrent_searches: usize,
}

impl Default for TantivyConfig {
    /// The development profile.
    fn default() -> Self {
        Self::development()
    }
}

impl TantivyConfig {
    /// In memory, one small writer, 1 s until a write is visible.
    #[must_use]
    pub fn development() -> Self {
        Self {
            storage: Storage::Memory,
            durability: Durability::Process,
            refresh_interval: Duration::from_secs(1),
            writer_heap_bytes: 32_000_000,
            writer_threads: 1,
            max_pending_bytes: 16 * 1024 * 1024,
            max_bulk_documents: 10_000,
            max_document_bytes: 1024 * 1024,
            max_page_size: 1_000,
            max_page_depth: 10_000,
            max_indexes: 32,
            max_concurrent_writes: 16,
            max_concurrent_searches: 8,
        }
    }

    /// Survives power cuts, two writer threads with 128 MB. Set the directory with [`with_directory`](Self::with_directory):
    /// the default storage is still memory.
    #[must_use]
    pub fn production() -> Self {
        Self {
            durability: Durability::Machine,
            writer_heap_bytes: 128_000_000,
            writer_threads: 2,
            max_pending_bytes: 64 * 1024 * 1024,
            max_concurrent_writes: 64,
            max_concurrent_searches: 32,
            ..Self::development()
        }
    }

    /// Keeps the indexes in memory.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.storage = Storage::Memory;
        self
    }

    /// Keeps the indexes in a directory.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.storage = Storage::Directory(directory.into());
        self
    }

    /// Sets what an acknowledged write survives.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how long a write may stay invisible.
    #[must_use]
    pub fn with_refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// Sets the memory of one index's writer, in bytes, and its number of threads.
    #[must_use]
    pub fn with_writer(mut self, threads: usize, heap_bytes: usize) -> Self {
        self.writer_threads = threads;
        self.writer_heap_bytes = heap_bytes;
        self
    }

    /// Sets the document bytes at which a refresh happens early.
    #[must_use]
    pub fn with_max_pending_bytes(mut self, bytes: usize) -> Self {
        self.max_pending_bytes = bytes;
        self
    }

    /// Sets the most documents in one bulk write.
    #[must_use]
    pub fn with_max_bulk_documents(mut self, documents: usize) -> Self {
        self.max_bulk_documents = documents;
        self
    }

    /// Sets the largest document, in bytes of JSON.
    #[must_use]
    pub fn with_max_document_bytes(mut self, bytes: usize) -> Self {
        self.max_document_bytes = bytes;
        self
    }

    /// Sets the most hits on one page.
    #[must_use]
    pub fn with_max_page_size(mut self, hits: u32) -> Self {
        self.max_page_size = hits;
        self
    }

    /// Sets how deep numbered pages go, in hits.
    #[must_use]
    pub fn with_max_page_depth(mut self, hits: u32) -> Self {
        self.max_page_depth = hits;
        self
    }

    /// Sets the most indexes.
    #[must_use]
    pub fn with_max_indexes(mut self, indexes: usize) -> Self {
        self.max_indexes = indexes;
        self
    }

    /// Sets how many writes and how many searches run at once.
    #[must_use]
    pub fn with_concurrency(mut self, writes: usize, searches: usize) -> Self {
        self.max_concurrent_writes = writes;
        self.max_concurrent_searches = searches;
        self
    }
}

impl Validate for TantivyConfig {
    fn validate(&self, problems: &mut Problems) {
        self.check_limits(problems);
        self.check_writer(problems);
        if let Storage::Directory(path) = &self.storage {
            problems.ensure(
                !path.as_os_str().is_empty(),
                "storage.directory",
                "is empty; name a directory",
            );
        }
        problems.ensure(
            self.refresh_interval >= Duration::from_millis(1)
                && self.refresh_interval <= Duration::from_secs(3600),
            "refresh_interval",
            "must lie between 1ms and 1h",
        );
    }
}

impl TantivyConfig {
    fn check_limits(&self, problems: &mut Problems) {
        let ranges: [(&str, usize, usize); 8] = [
            ("max_pending_bytes", self.max_pending_bytes, 1 << 30),
            ("max_bulk_documents", self.max_bulk_documents, 1_000_000),
            ("max_document_bytes", self.max_document_bytes, 64 << 20),
            ("max_page_size", self.max_page_size as usize, 10_000),
            ("max_page_depth", self.max_page_depth as usize, 1_000_000),
            ("max_indexes", self.max_indexes, 10_000),
            ("max_concurrent_writes", self.max_concurrent_writes, 400),
            ("max_concurrent_searches", self.max_concurrent_searches, 400),
        ];
        for (name, value, most) in ranges {
            problems.ensure(
                (1..=most).contains(&value),
                name,
                format!("must lie between 1 and {most}"),
            );
        }
        problems.ensure(
            self.max_page_depth >= self.max_page_size,
            "max_page_depth",
            "must be at least `max_page_size`",
        );
    }

    fn check_writer(&self, problems: &mut Problems) {
        if !(1..=8).contains(&self.writer_threads) {
            problems.add("writer_threads", "must lie between 1 and 8");
            return;
        }
        let threads = self.writer_threads;
        problems.ensure(
            HEAP_PER_THREAD.contains(&(self.writer_heap_bytes / threads)),
            "writer_heap_bytes",
            format!(
                "must give each of {threads} threads between {} and {} bytes",
                HEAP_PER_THREAD.start(),
                HEAP_PER_THREAD.end()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_valid() {
        TantivyConfig::development().check().unwrap();
        TantivyConfig::production().with_directory("x").check().unwrap();
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = TantivyConfig::development()
            .with_directory("")
            .with_writer(2, 1000)
            .with_refresh_interval(Duration::ZERO)
            .with_max_page_size(0)
            .with_concurrency(0, 0)
            .check()
            .unwrap_err();
        assert_eq!(error.kind(), infra_core::ErrorKind::InvalidConfig);
        for setting in [
            "storage.directory",
            "writer_heap_bytes",
            "refresh_interval",
            "max_page_size",
            "max_concurrent_writes",
            "max_concurrent_searches",
        ] {
            assert!(error.message().contains(setting), "{setting}: {error}");
        }
    }

    #[test]
    fn unknown_settings_are_refused_and_durations_are_humane() {
        let config: TantivyConfig = serde_json::from_value(
            serde_json::json!({"storage": {"directory": "d"}, "refresh_interval": "250ms"}),
        )
        .unwrap();
        assert_eq!(config.refresh_interval, Duration::from_millis(250));
        assert_eq!(config.storage, Storage::Directory("d".into()));
        assert!(serde_json::from_value::<TantivyConfig>(serde_json::json!({"heap": 1})).is_err());
    }
}
