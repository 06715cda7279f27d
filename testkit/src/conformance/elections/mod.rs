//! ELECT: one leader among candidates, over any [`Locks`].

pub mod leading;
pub mod standing;
mod steps;
pub mod succession;

use infra_core::coordination::Locks;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Locks>] = crate::elections!(@list __conformance_table ());

/// One test per scenario of the family ELECT for a backend's locks: `conformance::elections!(make_backend)`, or
/// `conformance::elections!(make_backend, every_mode)`.
#[macro_export]
macro_rules! elections {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (elections) $arguments {
            leading {
                elect_001_a_sole_candidate_leads,
                elect_002_of_many_candidates_one_leads,
                elect_003_a_leader_leads_while_it_lives,
                elect_005_a_leader_is_told_of_its_loss,
                elect_009_a_leader_without_the_server_steps_down,
            }
            succession {
                elect_004_a_resignation_hands_over,
                elect_006_a_leader_that_was_robbed_stands_again,
                elect_008_terms_grow,
                elect_010_a_dead_leader_is_succeeded,
                elect_013_a_leader_that_is_shut_down_is_succeeded,
            }
            standing {
                elect_007_what_cannot_work_is_refused_and_the_rest_works,
                elect_011_a_withdrawn_candidate_leaves_no_ghost,
                elect_012_candidates_learn_of_shutdown,
                elect_014_leading_begins_when_the_server_comes_back,
                elect_015_a_candidate_waits_as_long_as_it_takes,
                elect_016_elections_and_locks_do_not_meet,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::elections!(@list __conformance_tests ($($arguments)+)); };
}
