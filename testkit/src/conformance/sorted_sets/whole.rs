//! The sorted set as a whole: its time to live, its type, who sees it.

use infra_core::cache::SortedSets;

use crate::conformance::collections::{sharing, whole};
use crate::conformance::{Harness, Outcome};

/// Adding and removing leave the time to live of the key.
pub async fn zset_022_writing_keeps_the_time_to_live(harness: &Harness<dyn SortedSets>) -> Outcome {
    whole::writing_keeps_the_time_to_live(harness).await
}

/// A sorted set expires whole, no later than the declared granularity.
pub async fn zset_023_an_expired_sorted_set_is_gone_whole(harness: &Harness<dyn SortedSets>) -> Outcome {
    whole::what_expired_is_gone_whole(harness).await
}

/// On a key that holds another type every operation is a conflict.
pub async fn zset_024_a_key_of_another_type_is_refused(harness: &Harness<dyn SortedSets>) -> Outcome {
    whole::another_type_is_refused(harness).await
}

/// A member that racers add is new to one of them, and no member is lost.
pub async fn zset_025_racers_add_each_member_once(harness: &Harness<dyn SortedSets>) -> Outcome {
    sharing::racers_add_each_member_once(harness).await
}

/// Scopes keep the members of one key apart.
pub async fn zset_026_scopes_keep_sorted_sets_apart(harness: &Harness<dyn SortedSets>) -> Outcome {
    sharing::scopes_keep_members_apart(harness).await
}

/// Others see what a client added, also after its shutdown.
pub async fn zset_027_sorted_sets_outlive_their_writer(harness: &Harness<dyn SortedSets>) -> Outcome {
    sharing::members_outlive_their_writer(harness).await
}
