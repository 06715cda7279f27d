//! ZSET: members in the order of their scores. What they share with hashes is in the module `collections`.

pub mod arguments;
pub mod lifecycle;
pub mod members;
pub mod ranks;
pub mod scores;
pub(crate) mod steps;
pub mod whole;

use infra_core::cache::SortedSets;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn SortedSets>] = crate::sorted_sets!(@list __conformance_table ());

/// One test per scenario of the family ZSET for a backend: `conformance::sorted_sets!(make_cache)`, or
/// `conformance::sorted_sets!(make_cache, every_mode)`.
#[macro_export]
macro_rules! sorted_sets {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (sorted_sets) $arguments {
            members {
                zset_001_an_absent_sorted_set_is_no_error,
                zset_002_members_are_bytes,
                zset_003_adding_counts_what_is_new,
                zset_004_adding_again_changes_the_score,
                zset_005_removing_counts_what_was_there,
                zset_006_a_sorted_set_without_members_does_not_exist,
                zset_007_any_text_is_a_member_of_its_own,
                zset_008_many_members_all_come_back,
                zset_009_scores_keep_full_precision,
                zset_010_infinite_scores_are_scores,
            }
            ranks {
                zset_011_equal_scores_are_ordered_by_member,
                zset_012_descending_is_exactly_the_other_way,
                zset_013_ranks_count_from_either_end,
                zset_014_the_greatest_come_first,
                zset_015_removing_by_rank_takes_those_of_its_order,
            }
            scores {
                zset_016_bounds_are_included_or_not,
                zset_017_bounds_keep_full_precision,
                zset_018_infinite_bounds_hold,
                zset_019_a_range_upside_down_is_empty,
                zset_020_a_page_is_of_the_result,
                zset_021_counting_ignores_the_page,
            }
            whole {
                zset_022_writing_keeps_the_time_to_live,
                zset_023_an_expired_sorted_set_is_gone_whole,
                zset_024_a_key_of_another_type_is_refused,
                zset_025_racers_add_each_member_once,
                zset_026_scopes_keep_sorted_sets_apart,
                zset_027_sorted_sets_outlive_their_writer,
            }
            arguments {
                zset_028_bad_sizes_are_refused_without_the_server,
                zset_029_the_largest_key_and_member_fit,
                zset_030_a_refused_write_changes_nothing,
                zset_031_what_is_not_a_number_is_refused,
                zset_032_errors_show_no_members,
            }
            lifecycle {
                zset_033_after_shutdown_every_call_is_refused,
                zset_034_an_unreachable_server_is_unavailable,
                zset_035_a_dropped_write_is_done_or_not,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::sorted_sets!(@list __conformance_tests ($($arguments)+)); };
}
