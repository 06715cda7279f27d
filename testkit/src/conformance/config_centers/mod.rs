//! CONFIG: small values with versions, conditions, transactions and literal prefixes. Their watches are the family WATCH.

pub mod arguments;
pub mod lifecycle;
pub mod scopes;
pub(crate) mod steps;
pub mod transactions;
pub mod versions;

use infra_core::coordination::ConfigCenter;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn ConfigCenter>] = crate::config_centers!(@list __conformance_table ());

/// One test per scenario of the family CONFIG for a backend: `conformance::config_centers!(make_backend)`, or
/// `conformance::config_centers!(make_backend, every_mode)`.
#[macro_export]
macro_rules! config_centers {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (config_centers) $arguments {
            versions {
                config_001_an_absent_key_is_no_error,
                config_002_bytes_come_back_as_they_were,
                config_003_versions_grow_and_are_never_zero,
                config_004_the_current_version_can_be_replaced,
                config_005_a_stale_version_writes_nothing,
                config_006_a_conflict_names_the_key_and_its_version,
                config_007_deleting_twice_is_no_error,
                config_008_a_stale_version_deletes_nothing,
                config_009_a_key_made_again_is_not_the_old_one,
                config_010_racers_lose_no_update,
            }
            scopes {
                config_011_prefixes_are_literal,
                config_012_the_empty_prefix_means_all,
                config_013_entries_are_ordered_by_key,
                config_014_any_text_is_a_key_of_its_own,
                config_015_an_entry_that_does_not_decode_names_its_key,
            }
            transactions {
                config_016_one_conflict_refuses_all_writes,
                config_017_a_transaction_has_one_version,
                config_018_readers_see_whole_transactions,
                config_019_64_writes_fit,
            }
            arguments {
                config_020_bad_writes_are_refused,
                config_021_bad_arguments_are_refused_without_the_server,
                config_022_the_largest_key_and_value_fit,
                config_023_errors_show_no_values,
            }
            lifecycle {
                config_024_after_shutdown_every_call_is_refused,
                config_025_an_unreachable_server_is_unavailable,
                config_026_values_outlive_their_writer,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::config_centers!(@list __conformance_tests ($($arguments)+)); };
}
