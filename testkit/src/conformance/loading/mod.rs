//! LOAD: reading through a cache, over any [`Cache`] with a loader on top.

pub mod arguments;
pub mod freshness;
pub mod invalidation;
pub mod outages;
pub mod remembering;
pub mod sharing;
mod steps;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use infra_core::cache::{Cache, CacheLoader, LoadOptions};
use infra_core::capability::Capabilities;
use infra_core::intercept::Stack;
use infra_core::{Result, async_trait};

use super::{Scenario, Subject};

/// Finds a value where it comes from.
pub type Load<T> = Box<dyn FnOnce() -> BoxFuture<'static, Result<Option<T>>> + Send>;

/// Reads through a cache; the contract is that of [`CacheLoader`].
#[async_trait]
pub trait Loads: fmt::Debug + Send + Sync + 'static {
    /// A text, from the cache or else from `load`.
    async fn text(&self, key: &str, load: Load<String>) -> Result<Option<String>>;

    /// A number, from the cache or else from `load`.
    async fn number(&self, key: &str, load: Load<u64>) -> Result<Option<u64>>;

    /// Forgets the value of a key; whether there was one.
    async fn invalidate(&self, key: &str) -> Result<bool>;
}

/// One process: a client of a cache, and the loaders under test that it makes over it.
pub trait MakesLoaders: fmt::Debug + Send + Sync + 'static {
    /// The client.
    fn cache(&self) -> &Arc<dyn Cache>;

    /// A loader over `cache`, which holds the locks of the cluster too if they are asked for.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that lists everything that is wrong with the options.
    fn loader(
        &self,
        cache: Arc<dyn Cache>,
        options: LoadOptions,
        cluster_locks: bool,
    ) -> Result<Arc<dyn Loads>>;
}

#[async_trait]
impl Subject for dyn MakesLoaders {
    fn behind(stack: &Stack, client: Arc<Self>) -> Arc<Self> {
        let cache = stack.wrap(Arc::clone(client.cache()));
        Arc::new(Behind { cache, maker: client })
    }

    fn declared(&self) -> Option<&Capabilities> {
        Some(self.cache().capabilities())
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.cache().shutdown(deadline).await
    }
}

/// A maker whose cache is called through a stack.
#[derive(Debug)]
struct Behind {
    cache: Arc<dyn Cache>,
    maker: Arc<dyn MakesLoaders>,
}

impl MakesLoaders for Behind {
    fn cache(&self) -> &Arc<dyn Cache> {
        &self.cache
    }

    fn loader(
        &self,
        cache: Arc<dyn Cache>,
        options: LoadOptions,
        cluster_locks: bool,
    ) -> Result<Arc<dyn Loads>> {
        self.maker.loader(cache, options, cluster_locks)
    }
}

/// Makes the loaders of infra-core over a client of a cache.
#[derive(Debug, Clone)]
pub struct CoreLoaders(Arc<dyn Cache>);

impl CoreLoaders {
    /// Over this client.
    #[must_use]
    pub fn new(cache: Arc<dyn Cache>) -> Self {
        Self(cache)
    }
}

impl MakesLoaders for CoreLoaders {
    fn cache(&self) -> &Arc<dyn Cache> {
        &self.0
    }

    fn loader(
        &self,
        cache: Arc<dyn Cache>,
        options: LoadOptions,
        cluster_locks: bool,
    ) -> Result<Arc<dyn Loads>> {
        let loader = CacheLoader::new(cache.clone(), options)?;
        Ok(Arc::new(if cluster_locks {
            loader.with_cluster_locks(cache)
        } else {
            loader
        }))
    }
}

#[async_trait]
impl Loads for CacheLoader {
    async fn text(&self, key: &str, load: Load<String>) -> Result<Option<String>> {
        self.get_or_load(key, load).await
    }

    async fn number(&self, key: &str, load: Load<u64>) -> Result<Option<u64>> {
        self.get_or_load(key, load).await
    }

    async fn invalidate(&self, key: &str) -> Result<bool> {
        Self::invalidate(self, key).await
    }
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn MakesLoaders>] = crate::loading!(@list __conformance_table ());

/// One test per scenario of LOAD over a cache: `conformance::loading!(make_loaders)`, or
/// `conformance::loading!(make_loaders, every_mode)`.
#[macro_export]
macro_rules! loading {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (loading) $arguments {
            sharing {
                cache_020_many_callers_share_one_load,
                load_001_every_waiter_is_given_the_error_of_the_loader,
                load_002_a_loader_that_panics_frees_those_who_wait,
                load_003_a_caller_that_goes_away_does_not_stop_the_load,
                load_004_a_loader_that_takes_too_long_is_given_up,
                load_005_keys_do_not_wait_for_each_other,
                load_006_processes_find_what_another_loaded,
                load_007_with_locks_the_cluster_loads_once,
                load_008_a_lock_that_cannot_be_had_only_costs_time,
            }
            remembering {
                cache_021_an_error_is_not_cached,
                load_009_a_value_is_kept_for_its_time_and_no_longer,
                load_010_absence_is_remembered_for_a_time_of_its_own,
                load_011_absence_is_not_remembered_if_its_time_is_zero,
                load_012_times_are_shortened_at_random_within_their_bounds,
                load_013_similar_keys_are_different_keys,
            }
            freshness {
                load_014_a_value_is_loaded_anew_before_its_time_is_over,
                load_015_a_refresh_that_fails_leaves_the_value,
                load_016_a_stale_value_is_served_when_loading_fails,
                load_017_a_value_is_not_stale_for_longer_than_allowed,
                load_018_a_stale_value_is_not_served_while_loading_works,
            }
            invalidation {
                load_019_an_invalidated_value_is_loaded_anew,
                load_020_invalidating_tells_whether_there_was_a_value,
                load_021_a_load_that_was_overtaken_is_not_cached,
                load_022_who_asks_after_an_invalidation_does_not_join_an_older_load,
            }
            outages {
                load_023_an_unreachable_cache_does_not_stop_the_service,
                load_024_a_value_that_cannot_be_cached_is_given_all_the_same,
                load_025_what_no_loader_wrote_is_loaded_anew,
                load_026_a_value_of_another_type_is_loaded_anew,
            }
            arguments {
                load_027_types_that_meet_in_one_load_are_told_apart,
                load_028_errors_show_no_values,
                load_029_keys_outside_the_limits_are_refused_before_loading,
                load_030_after_shutdown_nothing_is_loaded,
                load_031_impossible_options_are_refused_all_at_once,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::loading!(@list __conformance_tests ($($arguments)+)); };
}
