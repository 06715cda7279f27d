//! SCRIPT: conditions and steps that are carried out as one, and raw scripts where they are declared.

pub mod batches;
pub mod checks;
pub mod lifecycle;
pub mod refusals;
pub(crate) mod steps;

use infra_core::cache::Scripts;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Scripts>] = crate::scripts!(@list __conformance_table ());

/// One test per scenario of the family SCRIPT for a backend: `conformance::scripts!(make_cache)`, or
/// `conformance::scripts!(make_cache, every_mode)`.
#[macro_export]
macro_rules! scripts {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (scripts) $arguments {
            batches {
                script_001_each_step_says_what_it_gave,
                script_006_steps_see_those_before_them,
                script_007_readers_see_whole_batches,
                script_009_steps_set_times_to_live,
                script_010_steps_count_what_they_changed,
                script_013_an_empty_batch_is_applied,
                script_018_keys_and_values_are_data,
                script_020_a_dropped_batch_is_done_or_not,
            }
            checks {
                script_002_an_unmet_condition_changes_nothing,
                script_003_the_first_unmet_condition_is_named,
                script_004_conditions_that_hold_let_the_steps_through,
                script_008_one_racer_meets_the_condition,
                script_021_what_expired_is_absent_to_conditions,
            }
            refusals {
                script_005_a_step_that_fails_undoes_those_before_it,
                script_011_a_value_of_another_type_is_a_conflict,
                script_012_bad_arguments_are_refused_without_the_server,
                script_014_keys_that_cannot_be_in_one_batch_are_refused,
                script_017_errors_show_no_values,
                script_019_raw_scripts_need_their_capability,
            }
            lifecycle {
                script_015_after_shutdown_every_call_is_refused,
                script_016_an_unreachable_server_is_unavailable,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::scripts!(@list __conformance_tests ($($arguments)+)); };
}
