//! BLOOM: filters that say "certainly new" or "probably seen".

pub mod filters;
pub mod items;
pub mod lifecycle;
pub(crate) mod steps;

use infra_core::cache::Bloom;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Bloom>] = crate::bloom!(@list __conformance_table ());

/// One test per scenario of the family BLOOM for a backend: `conformance::bloom!(make_cache)`, or
/// `conformance::bloom!(make_cache, every_mode)`.
#[macro_export]
macro_rules! bloom {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (bloom) $arguments {
            items {
                bloom_001_what_was_added_is_contained,
                bloom_002_few_new_items_are_taken_for_seen,
                bloom_003_adding_says_what_is_new,
                bloom_004_items_are_bytes,
                bloom_005_one_racer_adds_an_item,
                bloom_006_the_largest_item_fits,
            }
            filters {
                bloom_007_a_filter_that_was_not_reserved_contains_nothing,
                bloom_008_a_filter_that_was_not_reserved_takes_nothing,
                bloom_009_reserving_again_changes_nothing,
                bloom_010_other_options_are_refused,
                bloom_011_impossible_options_are_refused,
                bloom_012_filters_are_apart,
                bloom_013_scopes_keep_filters_apart,
                bloom_014_filters_outlive_their_writer,
            }
            lifecycle {
                bloom_015_bad_sizes_are_refused_without_the_server,
                bloom_016_errors_show_no_items,
                bloom_017_after_shutdown_every_call_is_refused,
                bloom_018_an_unreachable_server_is_unavailable,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::bloom!(@list __conformance_tests ($($arguments)+)); };
}
