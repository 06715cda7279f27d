//! REGISTRY: who serves what, where, right now.

pub mod arguments;
pub mod keeping;
pub mod leaving;
pub mod lifecycle;
pub mod names;
pub mod registering;
pub(crate) mod steps;
pub mod watching;

use infra_core::coordination::Registry;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Registry>] = crate::registries!(@list __conformance_table ());

/// One test per scenario of the family REGISTRY for a backend: `conformance::registries!(make_backend)`, or
/// `conformance::registries!(make_backend, every_mode)`.
#[macro_export]
macro_rules! registries {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (registries) $arguments {
            registering {
                registry_001_a_registered_instance_is_discovered,
                registry_003_a_dead_instance_is_gone_after_its_lease,
                registry_005_the_same_id_replaces_the_instance,
                registry_006_all_of_an_instance_comes_back,
                registry_008_an_unknown_service_is_empty,
                registry_009_a_draining_instance_stays_listed,
                registry_011_instances_are_ordered_by_id,
            }
            keeping {
                registry_002_renewals_keep_an_instance,
                registry_010_lost_sessions_are_made_again,
                registry_018_an_instance_outlives_a_long_outage,
                registry_019_a_short_partition_is_survived,
            }
            leaving {
                registry_004_deregistering_is_immediate,
                registry_014_a_dropped_registration_goes,
                registry_015_a_deregistration_given_up_goes_on,
                registry_016_a_replaced_registration_removes_nothing,
                registry_017_a_replaced_registration_changes_nothing,
            }
            names {
                registry_012_similar_services_do_not_mix,
                registry_013_deregistering_touches_no_other,
            }
            arguments {
                registry_020_bad_arguments_are_refused_without_the_server,
                registry_021_what_exceeds_the_limits_is_refused,
                registry_022_errors_show_no_metadata,
            }
            lifecycle {
                registry_023_the_last_list_is_served_while_the_server_is_away,
                registry_024_an_unreachable_server_is_unavailable,
                registry_025_after_shutdown_every_call_is_refused,
                registry_026_shutdown_deregisters,
            }
            watching {
                registry_007_joining_changing_and_leaving_are_told,
                registry_027_a_watch_tells_of_its_service_alone,
                registry_028_a_watch_continues_from_its_snapshot,
                registry_029_lost_history_is_told_and_the_watch_goes_on,
                registry_030_an_unknown_revision_begins_with_a_reset,
                registry_031_a_slow_reader_learns_how_much_it_missed,
                registry_032_the_end_of_a_lease_is_told,
                registry_033_the_end_says_why,
                registry_034_shutdown_ends_the_watches_of_its_client,
                registry_035_a_dropped_watch_is_unsubscribed,
                registry_036_a_partition_of_the_reader_loses_nothing_in_silence,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::registries!(@list __conformance_tests ($($arguments)+)); };
}
