//! SET: distinct members under one key. What they share with hashes is in the module `collections`.

pub mod arguments;
pub mod lifecycle;
pub mod members;
pub mod whole;

use infra_core::cache::Sets;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Sets>] = crate::sets!(@list __conformance_table ());

/// One test per scenario of the family SET for a backend: `conformance::sets!(make_cache)`, or
/// `conformance::sets!(make_cache, every_mode)`.
#[macro_export]
macro_rules! sets {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (sets) $arguments {
            members {
                set_001_an_absent_set_is_no_error,
                set_002_members_are_bytes,
                set_003_adding_counts_what_is_new,
                set_004_removing_counts_what_was_there,
                set_005_a_set_without_members_does_not_exist,
                set_006_any_text_is_a_member_of_its_own,
                set_007_many_members_all_come_back,
            }
            whole {
                set_008_writing_keeps_the_time_to_live,
                set_009_an_expired_set_is_gone_whole,
                set_010_a_key_of_another_type_is_refused,
                set_011_racers_add_each_member_once,
                set_012_scopes_keep_sets_apart,
                set_013_sets_outlive_their_writer,
            }
            arguments {
                set_014_bad_sizes_are_refused_without_the_server,
                set_015_the_largest_key_and_member_fit,
                set_016_a_refused_write_changes_nothing,
                set_017_errors_show_no_members,
            }
            lifecycle {
                set_018_after_shutdown_every_call_is_refused,
                set_019_an_unreachable_server_is_unavailable,
                set_020_a_dropped_write_is_done_or_not,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::sets!(@list __conformance_tests ($($arguments)+)); };
}
