//! LIMIT: the buckets of a rate-limit store.

pub mod buckets;
pub mod sharing;

use infra_core::rate_limit::RateLimitStore;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn RateLimitStore>] = crate::rate_limits!(@list __conformance_table ());

/// One test per scenario on the buckets of LIMIT for a store: `conformance::rate_limits!(make_store)`, or
/// `conformance::rate_limits!(make_store, every_mode)`.
#[macro_export]
macro_rules! rate_limits {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (rate_limits) $arguments {
            // Strict where a delay between repetitions would let the bucket gain tokens, and the scenario counts them exactly.
            buckets {
                limit_001_a_burst_passes_and_then_the_steady_rate strict,
                limit_002_no_window_sees_more_than_the_quota strict,
                limit_003_retry_after_is_exact strict,
                limit_004_reset_after_is_exact strict,
                limit_005_remaining_is_what_can_still_be_taken strict,
                limit_006_a_denied_take_takes_nothing strict,
                limit_007_a_cost_that_cannot_be_paid_is_refused,
                limit_008_a_smaller_capacity_keeps_no_more_than_it_holds strict,
                limit_009_tokens_gained_before_a_change_were_gained_at_the_old_rate strict,
            }
            sharing {
                limit_010_keys_never_share_a_bucket,
                limit_011_racers_spend_each_token_once strict,
                limit_012_several_buckets_are_taken_all_or_none strict,
                limit_013_a_bucket_named_twice_must_hold_the_sum strict,
                limit_014_clients_share_the_buckets_of_the_server strict,
                limit_015_a_dropped_take_takes_all_or_nothing strict,
                limit_016_a_store_that_was_shut_down_is_closed,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::rate_limits!(@list __conformance_tests ($($arguments)+)); };
}
