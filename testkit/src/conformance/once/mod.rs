//! IDEMP: idempotent operations, over any [`OnceStore`] with [`StoreOnce`](infra_core::once::StoreOnce) on top.

pub mod arguments;
pub mod claims;
pub mod executing;
pub mod failing;
pub mod lifecycle;
pub mod remembering;
mod steps;

use infra_core::once::OnceStore;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn OnceStore>] = crate::once!(@list __conformance_table ());

/// One test per scenario of the family IDEMP for a backend: `conformance::once!(make_backend)`, or
/// `conformance::once!(make_backend, every_mode)`.
#[macro_export]
macro_rules! once {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (once) $arguments {
            executing {
                idemp_001_the_first_call_executes,
                idemp_002_a_replay_gives_the_stored_result,
                idemp_003_a_concurrent_call_waits_for_the_result,
                idemp_004_a_concurrent_call_is_refused_if_it_wants,
                idemp_005_waiting_for_a_result_is_bounded,
                idemp_007_another_request_after_the_result_is_refused,
                idemp_008_another_request_during_the_work_is_refused,
                idemp_009_a_request_without_fingerprint_is_not_compared,
                idemp_013_a_claim_is_renewed_while_the_work_runs,
            }
            failing {
                idemp_006_failed_work_releases_its_key,
                idemp_011_a_crash_blocks_its_key_for_a_lease_only,
                idemp_018_nobody_is_given_a_false_success,
                idemp_021_work_that_was_stopped_releases_its_key,
                idemp_030_a_short_absence_at_the_end_is_bridged,
                idemp_031_a_result_that_was_not_stored_is_no_success,
            }
            remembering {
                idemp_010_a_result_is_forgotten_after_its_time,
                idemp_022_a_cleared_result_is_forgotten,
                idemp_023_cleared_work_is_stopped,
                idemp_024_the_status_tells_how_a_key_stands,
                idemp_033_the_time_of_a_result_begins_when_it_is_there,
            }
            claims {
                idemp_012_fences_grow_from_owner_to_owner,
                idemp_014_a_lost_owner_cannot_complete,
                idemp_015_a_lost_owner_cannot_renew,
                idemp_016_a_lost_owner_cannot_release,
                idemp_017_a_claim_that_is_over_is_none,
                idemp_025_an_owner_may_claim_again,
                idemp_026_an_owner_may_complete_again,
                idemp_032_of_many_claims_one_is_granted,
            }
            arguments {
                idemp_019_a_result_that_is_too_large_is_refused,
                idemp_020_keys_outside_the_limits_are_refused,
                idemp_027_times_outside_the_limits_are_refused,
                idemp_034_similar_keys_are_different_keys,
                idemp_035_errors_show_no_results,
            }
            lifecycle {
                idemp_028_after_shutdown_every_call_is_refused,
                idemp_029_an_unreachable_store_is_unavailable,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::once!(@list __conformance_tests ($($arguments)+)); };
}
