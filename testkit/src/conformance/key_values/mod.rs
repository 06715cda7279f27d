//! CACHE: strings, counters, times to live and scans. What a loader adds is a family of its own.

pub mod conditions;
pub mod counters;
pub mod expiry;
pub mod keys;
pub mod lifecycle;
pub(crate) mod steps;
pub mod strings;

use infra_core::cache::KeyValue;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn KeyValue>] = crate::key_values!(@list __conformance_table ());

/// One test per scenario on strings of CACHE for a backend: `conformance::key_values!(make_cache)`, or
/// `conformance::key_values!(make_cache, every_mode)`.
#[macro_export]
macro_rules! key_values {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (key_values) $arguments {
            strings {
                cache_001_an_absent_key_is_no_error,
                cache_002_bytes_come_back_as_they_were,
                cache_003_overwriting_replaces,
                cache_014_many_are_read_in_their_order,
                cache_015_of_many_writes_only_bad_ones_fail,
                cache_034_the_largest_key_and_value_fit,
                cache_039_clients_see_one_another,
                cache_045_an_empty_value_is_a_value,
            }
            conditions {
                cache_004_one_racer_finds_the_key_absent,
                cache_005_what_is_expected_is_replaced,
                cache_006_a_mismatch_says_what_is_there,
                cache_008_only_the_owner_deletes,
                cache_009_a_stale_owner_is_harmless,
                cache_028_racers_lose_no_update,
                cache_033_each_value_is_swapped_out_once,
                cache_044_what_is_not_done_changes_nothing,
            }
            expiry {
                cache_010_an_expired_value_is_gone,
                cache_011_what_never_expires_stays,
                cache_012_overwriting_replaces_the_time_to_live,
                cache_013_times_outside_the_limits_are_refused,
                cache_029_a_key_says_how_long_it_has_left,
                cache_030_the_time_of_a_key_can_be_changed,
                cache_031_every_write_sets_the_time,
                cache_032_what_expired_is_absent,
            }
            keys {
                cache_007_deleting_says_how_many_there_were,
                cache_016_a_prefix_deletes_what_begins_with_it,
                cache_017_a_scan_returns_what_stays,
                cache_018_any_text_is_a_key_of_its_own,
                cache_022_scopes_keep_keys_apart,
                cache_035_a_foreign_cursor_is_refused,
                cache_041_a_scan_takes_its_prefix_literally,
                cache_042_a_scan_hides_what_expired,
            }
            counters {
                cache_023_an_absent_number_counts_as_zero,
                cache_024_what_is_no_number_is_refused,
                cache_025_a_sum_that_does_not_fit_is_refused,
                cache_026_adding_keeps_the_time_to_live,
                cache_027_racing_additions_all_count,
            }
            lifecycle {
                cache_019_bad_sizes_are_refused_without_the_server,
                cache_036_errors_show_no_values,
                cache_037_after_shutdown_every_call_is_refused,
                cache_038_an_unreachable_server_is_unavailable,
                cache_040_a_dropped_write_is_done_or_not,
                cache_043_values_outlive_their_writer,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::key_values!(@list __conformance_tests ($($arguments)+)); };
}
