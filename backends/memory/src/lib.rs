#![doc = include_str!("../README.md")]

mod cache;
mod coordinator;
mod link;
mod locks;
mod meter;
mod once;
mod queue;
mod register;

pub use cache::{CacheFaults, MemoryCache, MemoryCacheConfig, MemoryCacheUsage};
pub use coordinator::{CoordinatorFaults, MemoryCoordinator, MemoryCoordinatorConfig};
pub use locks::LockTable;
pub use meter::{HistogramReading, MemoryMeter};
pub use once::{MemoryOnceConfig, MemoryOnceStore};
pub use queue::{MemoryQueue, MemoryQueueConfig, Overflow, QueueFaults};
pub use register::{MemoryRateLimitConfig, register};

/// The name of this backend in errors and metric labels.
pub(crate) const BACKEND: &str = "memory";
