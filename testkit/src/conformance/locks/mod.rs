//! LOCK: mutual exclusion as a lease.

pub mod exclusion;
pub mod holding;
pub mod lifecycle;
pub mod names;
pub(crate) mod steps;
pub mod waiting;

use infra_core::coordination::Locks;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Locks>] = crate::locks!(@list __conformance_table ());

/// One test per scenario of the family LOCK for a backend: `conformance::locks!(make_backend)`, or
/// `conformance::locks!(make_backend, every_mode)`.
#[macro_export]
macro_rules! locks {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (locks) $arguments {
            exclusion {
                lock_001_a_free_lock_is_acquired,
                lock_002_a_held_lock_is_refused,
                lock_003_a_lock_is_not_reentrant,
                lock_005_a_released_lock_can_be_acquired_again,
                lock_011_of_32_contenders_exactly_one_holds,
                lock_012_fencing_tokens_grow_and_keep_stale_owners_out,
                lock_031_fencing_tokens_grow_on_after_sessions_were_lost,
            }
            waiting {
                lock_004_a_wait_times_out_and_says_so,
                lock_006_a_release_wakes_the_waiter,
                lock_014_a_cancelled_waiter_leaves_no_ghost,
                lock_015_a_waiter_learns_of_shutdown,
                lock_016_waiters_are_served_in_their_order,
                lock_023_a_waiter_gets_the_lock_of_a_dead_holder,
                lock_024_the_lease_of_a_waiter_begins_with_the_grant,
                lock_025_a_grant_that_nobody_took_is_given_back,
                lock_033_many_waits_that_timed_out_cost_nothing,
            }
            holding {
                lock_007_a_stolen_lock_cannot_be_released,
                lock_008_the_lock_of_a_dead_holder_is_reclaimed,
                lock_009_a_held_lock_is_renewed,
                lock_010_a_holder_is_told_of_its_loss,
                lock_013_an_abandoned_guard_is_renewed_no_more,
                lock_020_a_short_lease_is_honoured_or_refused,
                lock_022_work_under_a_lost_lock_is_stopped,
                lock_029_a_partition_ends_the_lease_on_both_sides,
                lock_030_a_short_partition_is_survived,
            }
            names {
                lock_017_leases_outside_the_limits_are_refused,
                lock_018_names_outside_the_limits_are_refused,
                lock_019_bad_arguments_are_refused_without_the_server,
                lock_021_similar_names_are_different_locks,
                lock_032_a_guard_says_what_was_asked,
            }
            lifecycle {
                lock_026_after_shutdown_every_call_is_refused,
                lock_027_shutdown_gives_up_what_was_held,
                lock_028_an_unreachable_server_is_unavailable,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::locks!(@list __conformance_tests ($($arguments)+)); };
}
