//! LIMITER: rules, and what is decided when the buckets of the fleet cannot be reached; over any [`RateLimitStore`].

pub mod checks;
pub mod failing;
pub mod lifecycle;
pub mod reloading;
pub mod rules;
pub mod separation;
mod steps;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::coordination::ConfigCenter;
use infra_core::intercept::Stack;
use infra_core::rate_limit::{
    Limiter, LimiterDependencies, RateLimitConfig, RateLimitStore, RateLimiter, Rule,
};
use infra_core::telemetry::Meter;
use infra_core::{Result, async_trait};

use super::{Scenario, Subject};

/// Rules are followed until this is dropped.
pub type Followed = Box<dyn Send>;

/// A rate limiter whose rules can be replaced; the contract is that of [`Limiter`].
#[async_trait]
pub trait RuledLimiter: RateLimiter {
    /// Replaces all rules but those of the configuration.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that lists everything that is wrong; no rule has changed then.
    fn apply(&self, rules: BTreeMap<String, Rule>) -> Result<()>;

    /// Takes the rules from a configuration centre, now and whenever they change.
    async fn follow(&self, center: Arc<dyn ConfigCenter>) -> Result<Followed>;
}

/// One process: a client of a store of buckets, and the limiters under test that it makes.
pub trait MakesLimiters: fmt::Debug + Send + Sync + 'static {
    /// The client.
    fn store(&self) -> &Arc<dyn RateLimitStore>;

    /// A limiter with this configuration, over `store` if there is one.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that lists everything that is wrong.
    fn limiter(
        &self,
        config: RateLimitConfig,
        store: Option<Arc<dyn RateLimitStore>>,
        meter: Arc<dyn Meter>,
    ) -> Result<Arc<dyn RuledLimiter>>;
}

#[async_trait]
impl Subject for dyn MakesLimiters {
    fn behind(stack: &Stack, client: Arc<Self>) -> Arc<Self> {
        let store = stack.wrap(Arc::clone(client.store()));
        Arc::new(Behind { store, maker: client })
    }

    fn declared(&self) -> Option<&Capabilities> {
        Some(self.store().capabilities())
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.store().shutdown(deadline).await
    }
}

/// A maker whose store is called through a stack.
#[derive(Debug)]
struct Behind {
    store: Arc<dyn RateLimitStore>,
    maker: Arc<dyn MakesLimiters>,
}

impl MakesLimiters for Behind {
    fn store(&self) -> &Arc<dyn RateLimitStore> {
        &self.store
    }

    fn limiter(
        &self,
        config: RateLimitConfig,
        store: Option<Arc<dyn RateLimitStore>>,
        meter: Arc<dyn Meter>,
    ) -> Result<Arc<dyn RuledLimiter>> {
        self.maker.limiter(config, store, meter)
    }
}

/// Makes the limiters of infra-core over a client of a store.
#[derive(Debug, Clone)]
pub struct CoreLimiters(Arc<dyn RateLimitStore>);

impl CoreLimiters {
    /// Over this client.
    #[must_use]
    pub fn new(store: Arc<dyn RateLimitStore>) -> Self {
        Self(store)
    }
}

impl MakesLimiters for CoreLimiters {
    fn store(&self) -> &Arc<dyn RateLimitStore> {
        &self.0
    }

    fn limiter(
        &self,
        config: RateLimitConfig,
        store: Option<Arc<dyn RateLimitStore>>,
        meter: Arc<dyn Meter>,
    ) -> Result<Arc<dyn RuledLimiter>> {
        let mut dependencies = LimiterDependencies::new().with_meter(meter);
        if let Some(store) = store {
            dependencies = dependencies.with_store(store);
        }
        Ok(Arc::new(Limiter::new(config, dependencies)?))
    }
}

#[async_trait]
impl RuledLimiter for Limiter {
    fn apply(&self, rules: BTreeMap<String, Rule>) -> Result<()> {
        Self::apply(self, rules)
    }

    async fn follow(&self, center: Arc<dyn ConfigCenter>) -> Result<Followed> {
        let following = Self::follow(self, center).await?;
        Ok(Box::new(following))
    }
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn MakesLimiters>] = crate::limiters!(@list __conformance_table ());

/// One test per scenario of LIMITER over a store of buckets: `conformance::limiters!(make_limiters)`, or
/// `conformance::limiters!(make_limiters, every_mode)`.
#[macro_export]
macro_rules! limiters {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (limiters) $arguments {
            rules {
                limiter_001_a_rule_that_does_not_exist_denies,
                limiter_002_a_rule_that_does_not_exist_allows_if_configured,
                limiter_003_invalid_rules_are_refused_by_name,
                limiter_004_a_distributed_rule_without_a_store_is_refused,
                limiter_005_a_rule_may_say_where_its_buckets_are,
                limiter_006_a_cost_that_cannot_be_paid_is_refused,
                limiter_007_names_outside_the_limits_are_refused,
                limiter_008_the_time_to_wait_is_exact,
            }
            separation {
                limiter_009_resources_and_rules_never_share_tokens,
                limiter_010_services_do_not_share_tokens,
                limiter_011_the_fleet_gives_out_a_distributed_quota_together,
                limiter_012_each_process_gives_out_a_local_quota,
            }
            checks {
                limiter_013_several_checks_take_all_or_nothing,
                limiter_014_with_an_unknown_rule_nothing_is_taken,
                limiter_015_local_and_distributed_rules_are_not_decided_together,
                limiter_016_decisions_are_in_the_order_of_the_checks,
            }
            failing {
                limiter_017_without_its_store_it_allows_if_configured,
                limiter_018_without_its_store_it_denies_if_configured,
                limiter_019_without_its_store_it_limits_by_itself_if_configured,
                limiter_020_a_slow_store_is_given_up_in_time,
                limiter_021_a_store_that_is_back_decides_again,
                limiter_022_mistakes_of_the_caller_are_no_outage,
            }
            reloading {
                limiter_023_a_change_of_a_rule_keeps_its_tokens,
                limiter_024_of_rules_of_which_one_is_wrong_none_is_taken,
                limiter_025_a_rule_that_was_deleted_is_that_of_the_configuration,
                limiter_026_rules_are_followed,
                limiter_027_a_bad_value_leaves_the_last_good_one,
            }
            lifecycle {
                limiter_028_decisions_are_counted_without_resources,
                limiter_029_decisions_without_the_store_are_counted,
                limiter_030_a_limiter_that_was_shut_down_is_closed,
                limiter_031_a_shutdown_leaves_the_store_to_its_owner,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::limiters!(@list __conformance_tests ($($arguments)+)); };
}
