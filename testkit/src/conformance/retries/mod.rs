//! RETRY: what is repeated, how late, and when to give up.

pub mod bounds;
pub mod choice;

use std::fmt;

use futures_util::future::BoxFuture;
use infra_core::retry::{self, Budget, Idempotence, Policy};
use infra_core::{Result, async_trait};

use super::Scenario;
use super::making::makers;

/// An operation that can be begun again and again.
pub type Repeated<'o> = &'o mut (dyn FnMut() -> BoxFuture<'static, Result<u32>> + Send);

/// Repeats operations under a policy: what is under test.
#[async_trait]
pub trait Repeats: fmt::Debug + Send + Sync + 'static {
    /// The first success of `operation`, or the last error.
    async fn repeat(
        &self,
        policy: &Policy,
        budget: &Budget,
        idempotence: Idempotence,
        operation: Repeated<'_>,
    ) -> Result<u32>;
}

makers!(Repeats);

/// The retry of infra-core.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreRetry;

#[async_trait]
impl Repeats for CoreRetry {
    async fn repeat(
        &self,
        policy: &Policy,
        budget: &Budget,
        idempotence: Idempotence,
        operation: Repeated<'_>,
    ) -> Result<u32> {
        match idempotence {
            Idempotence::Idempotent => retry::run(policy, budget, operation).await,
            Idempotence::NotIdempotent => retry::run_not_idempotent(policy, budget, operation).await,
        }
    }
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Repeats>] = crate::retries!(@list __conformance_table ());

/// One test per scenario of RETRY: `conformance::retries!(make_retry)`.
#[macro_export]
macro_rules! retries {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (retries) $arguments {
            choice {
                retry_001_only_what_may_help_is_repeated,
                retry_002_what_is_not_idempotent_is_repeated_only_if_it_had_no_effect,
                retry_003_what_an_inner_retry_gave_up_is_not_repeated,
                retry_004_giving_up_is_marked_as_exhausted,
                retry_005_a_dropped_retry_stops,
            }
            bounds {
                retry_006_no_more_attempts_than_allowed,
                retry_007_the_time_that_the_error_asks_for_is_waited,
                retry_008_no_delay_reaches_beyond_the_deadline,
                retry_009_each_attempt_is_bounded,
                retry_010_a_budget_bounds_the_repetitions_of_all,
                retry_011_delays_grow_and_are_spread_within_their_bounds,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::retries!(@list __conformance_tests ($($arguments)+)); };
}
