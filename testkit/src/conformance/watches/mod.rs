//! WATCH: what changes in a configuration centre is told once, in order, and nothing of it is lost in silence.

pub mod components;
pub mod events;
pub mod interruptions;
pub mod reloading;
pub(crate) mod steps;
pub mod subscriptions;

use infra_core::coordination::ConfigCenter;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn ConfigCenter>] = crate::watches!(@list __conformance_table ());

/// One test per scenario of the family WATCH for a configuration centre: `conformance::watches!(make_backend)`, or
/// `conformance::watches!(make_backend, every_mode)`.
#[macro_export]
macro_rules! watches {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (watches) $arguments {
            components {
                watch_020_a_change_reaches_every_component_within_a_second,
                watch_021_a_bad_value_is_refused_by_every_component_with_key_and_reason,
                watch_022_deletion_takes_every_component_back_to_its_default,
                watch_023_every_component_starts_from_its_snapshot_while_the_centre_is_away,
            }
            events {
                watch_001_a_change_and_a_deletion_come_in_their_order,
                watch_002_each_change_is_told_once,
                watch_003_a_prefix_includes_keys_made_later,
                watch_004_where_nothing_changes_nothing_is_told,
                watch_013_each_key_of_a_transaction_is_told,
            }
            interruptions {
                watch_005_a_slow_reader_learns_how_much_it_missed,
                watch_006_lost_history_is_told_and_the_watch_goes_on,
                watch_007_the_end_says_why,
                watch_012_a_revision_never_reached_begins_with_a_reset,
                watch_014_an_absence_of_the_server_does_not_end_a_watch,
                watch_015_shutdown_ends_the_watches_of_its_client,
                watch_016_a_forgotten_revision_begins_with_a_reset,
                watch_017_a_partition_of_the_reader_loses_nothing_in_silence,
            }
            reloading {
                watch_010_a_bad_value_does_not_replace_a_good_one,
                watch_018_deletion_goes_back_to_the_default,
                watch_019_a_snapshot_stands_in_while_the_centre_is_away,
            }
            subscriptions {
                watch_008_a_dropped_watch_is_unsubscribed,
                watch_009_nothing_is_lost_between_reading_and_watching,
                watch_011_dropping_one_of_three_leaves_two,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::watches!(@list __conformance_tests ($($arguments)+)); };
}
