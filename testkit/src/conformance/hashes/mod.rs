//! HASH: named fields under one key, with numbers among them. What they share with sets is in the module `collections`.

pub mod arguments;
pub mod fields;
pub mod lifecycle;
pub mod numbers;
pub mod whole;

use infra_core::cache::Hashes;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Hashes>] = crate::hashes!(@list __conformance_table ());

/// One test per scenario of the family HASH for a backend: `conformance::hashes!(make_cache)`, or
/// `conformance::hashes!(make_cache, every_mode)`.
#[macro_export]
macro_rules! hashes {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (hashes) $arguments {
            fields {
                hash_001_an_absent_hash_is_no_error,
                hash_002_bytes_come_back_as_they_were,
                hash_003_setting_counts_what_is_new,
                hash_004_setting_replaces_only_what_it_names,
                hash_005_deleting_counts_what_was_there,
                hash_006_a_hash_without_fields_does_not_exist,
                hash_007_an_empty_value_is_a_value,
                hash_008_any_text_is_a_field_of_its_own,
                hash_009_many_fields_all_come_back,
            }
            numbers {
                hash_010_an_absent_number_counts_as_zero,
                hash_011_what_is_no_number_is_refused,
                hash_012_a_sum_that_does_not_fit_is_refused,
                hash_013_racing_additions_all_count,
            }
            whole {
                hash_014_writing_keeps_the_time_to_live,
                hash_015_an_expired_hash_is_gone_whole,
                hash_016_a_key_of_another_type_is_refused,
                hash_017_racers_set_each_field_once,
                hash_018_scopes_keep_hashes_apart,
                hash_019_hashes_outlive_their_writer,
            }
            arguments {
                hash_020_bad_sizes_are_refused_without_the_server,
                hash_021_the_largest_key_and_field_fit,
                hash_022_a_refused_write_changes_nothing,
                hash_023_errors_show_no_values,
            }
            lifecycle {
                hash_024_after_shutdown_every_call_is_refused,
                hash_025_an_unreachable_server_is_unavailable,
                hash_026_a_dropped_write_is_done_or_not,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::hashes!(@list __conformance_tests ($($arguments)+)); };
}
