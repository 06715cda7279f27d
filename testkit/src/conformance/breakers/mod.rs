//! BREAKER: when a breaker opens, what it lets pass, and when it closes.

pub mod counting;
pub mod probing;

use std::fmt;
use std::sync::Arc;

use infra_core::Result;
use infra_core::breaker::{BreakerConfig, BreakerProvider, Breakers};

use super::Scenario;
use super::making::makers;

/// Makes the breakers under test.
pub trait MakesBreakers: fmt::Debug + Send + Sync + 'static {
    /// Breakers with this configuration.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig).
    fn breakers(&self, config: BreakerConfig) -> Result<Arc<dyn BreakerProvider>>;
}

makers!(MakesBreakers);

/// Makes those of infra-core.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreBreakers;

impl MakesBreakers for CoreBreakers {
    fn breakers(&self, config: BreakerConfig) -> Result<Arc<dyn BreakerProvider>> {
        Ok(Arc::new(Breakers::new(config)?))
    }
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn MakesBreakers>] = crate::breakers!(@list __conformance_table ());

/// One test per scenario of BREAKER: `conformance::breakers!(make_breakers)`.
#[macro_export]
macro_rules! breakers {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (breakers) $arguments {
            counting {
                breaker_001_failures_in_a_row_open_it,
                breaker_002_the_share_of_failures_opens_it_from_the_minimum_of_calls,
                breaker_003_open_it_refuses_without_calling_and_says_for_how_long,
                breaker_004_a_success_ends_a_row_of_failures,
                breaker_005_the_callers_own_errors_count_as_nothing,
                breaker_006_failures_leave_the_window_with_time,
                breaker_007_slow_calls_open_it,
                breaker_008_a_cancelled_call_counts_as_nothing,
                breaker_009_names_are_apart_and_a_name_is_one_breaker,
            }
            probing {
                breaker_010_half_open_admits_exactly_the_probes_allowed,
                breaker_011_a_dropped_probe_gives_its_place_back_and_counts_as_nothing,
                breaker_012_successful_probes_close_it,
                breaker_013_a_failed_probe_opens_it_for_the_whole_time_again,
                breaker_014_a_probe_that_takes_too_long_counts_as_failed,
                breaker_015_the_end_of_a_call_of_before_counts_as_nothing,
                breaker_016_an_operator_overrules_it_and_lets_it_go_on_from_where_it_was,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::breakers!(@list __conformance_tests ($($arguments)+)); };
}
