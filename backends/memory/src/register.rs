//! The scheme `memory` for every component that this crate serves.

use std::sync::Arc;

use infra_core::assembly::{BackendOptions, Backends, OpenContext, factory};
use infra_core::cache::Cache;
use infra_core::config::{BackendUrl, Problems, Profile, Validate};
use infra_core::coordination::Coordinator;
use infra_core::error::{Error, Result};
use infra_core::once::OnceStore;
use infra_core::queue::MessageQueue;
use infra_core::rate_limit::{LocalBuckets, RateLimitStore};
use serde::{Deserialize, Serialize};

use crate::{
    BACKEND, MemoryCache, MemoryCacheConfig, MemoryCoordinator, MemoryCoordinatorConfig, MemoryOnceConfig,
    MemoryOnceStore, MemoryQueue, MemoryQueueConfig,
};

/// Adds the scheme `memory://` for cache, coordination, queue, idempotency and rate limits.
///
/// Each opening gives a new, empty component; the options are the fields of its configuration struct.
pub fn register(backends: &mut Backends) {
    backends.with_coordinator(
        BACKEND,
        factory(|config: MemoryCoordinatorConfig, _: OpenContext| async move {
            Ok(Arc::new(MemoryCoordinator::with_config(config)?) as Arc<dyn Coordinator>)
        }),
    );
    backends.with_cache(
        BACKEND,
        factory(|config: MemoryCacheConfig, _: OpenContext| async move {
            Ok(Arc::new(MemoryCache::with_config(config)?) as Arc<dyn Cache>)
        }),
    );
    backends.with_queue(
        BACKEND,
        factory(|config: MemoryQueueConfig, context: OpenContext| async move {
            Ok(Arc::new(MemoryQueue::with_meter(config, context.meter)?) as Arc<dyn MessageQueue>)
        }),
    );
    backends.with_once_store(
        BACKEND,
        factory(|config: MemoryOnceConfig, _: OpenContext| async move {
            Ok(Arc::new(MemoryOnceStore::with_config(config)) as Arc<dyn OnceStore>)
        }),
    );
    backends.with_rate_limit_store(
        BACKEND,
        factory(|config: MemoryRateLimitConfig, _: OpenContext| async move {
            Ok(Arc::new(LocalBuckets::new(config.max_buckets)) as Arc<dyn RateLimitStore>)
        }),
    );
}

macro_rules! options {
    ($($config:ty),+ $(,)?) => {
        $(impl BackendOptions for $config {
            fn of(profile: Profile) -> Self {
                match profile {
                    Profile::Production => Self::production(),
                    _ => Self::development(),
                }
            }

            fn take_url(&mut self, url: &BackendUrl) -> Result<()> {
                nothing_but_the_scheme(url)
            }
        })+
    };
}

options!(
    MemoryCoordinatorConfig,
    MemoryCacheConfig,
    MemoryQueueConfig,
    MemoryOnceConfig,
    MemoryRateLimitConfig
);

/// Memory is nowhere and takes no parameters: anything beyond `memory://` is a mistake.
fn nothing_but_the_scheme(url: &BackendUrl) -> Result<()> {
    url.check_params(&[])?;
    url.check_no_credentials()?;
    if url.hosts().is_empty() && url.path().is_none() {
        return Ok(());
    }
    Err(Error::invalid_config(
        "memory:// takes neither a host nor a path; options stand beside the URL",
    ))
}

/// How many buckets a process keeps for rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryRateLimitConfig {
    /// The most buckets that are not full. Default: 100,000.
    pub max_buckets: usize,
}

impl Default for MemoryRateLimitConfig {
    fn default() -> Self {
        Self::development()
    }
}

impl MemoryRateLimitConfig {
    /// The default.
    #[must_use]
    pub const fn development() -> Self {
        Self { max_buckets: 100_000 }
    }

    /// The default.
    #[must_use]
    pub const fn production() -> Self {
        Self::development()
    }
}

impl Validate for MemoryRateLimitConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(self.max_buckets > 0, "max_buckets", "is 0; allow at least one");
    }
}
