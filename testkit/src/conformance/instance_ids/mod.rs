//! INSTANCE: small numbers, each leased to one live instance of a service.

pub mod leases;
pub mod lifecycle;
pub mod numbers;
pub(crate) mod steps;

use infra_core::coordination::InstanceIds;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn InstanceIds>] = crate::instance_ids!(@list __conformance_table ());

/// One test per scenario of the family INSTANCE for a backend: `conformance::instance_ids!(make_backend)`, or
/// `conformance::instance_ids!(make_backend, every_mode)`.
#[macro_export]
macro_rules! instance_ids {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (instance_ids) $arguments {
            numbers {
                instance_001_every_number_of_the_range_is_leased,
                instance_002_hundreds_at_once_get_different_numbers,
                instance_003_services_do_not_share_their_numbers,
                instance_004_an_exhausted_range_says_so,
                instance_005_bad_arguments_are_refused_without_the_server,
            }
            leases {
                instance_006_a_held_number_is_renewed,
                instance_007_a_released_number_rests,
                instance_008_a_released_or_dropped_number_comes_back,
                instance_009_the_number_of_a_dead_holder_comes_back_after_its_lease,
                instance_010_a_holder_is_told_of_its_loss,
                instance_011_whoever_lost_a_number_cannot_release_it,
                instance_012_a_short_partition_is_survived,
                instance_016_lost_sessions_are_told_before_numbers_are_given_again,
            }
            lifecycle {
                instance_013_after_shutdown_every_call_is_refused,
                instance_014_shutdown_gives_back_what_was_held,
                instance_015_an_unreachable_server_is_unavailable,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::instance_ids!(@list __conformance_tests ($($arguments)+)); };
}
