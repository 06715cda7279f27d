//! The hash as a whole: its time to live, its type, who sees it.

use infra_core::cache::Hashes;

use crate::conformance::collections::{sharing, whole};
use crate::conformance::{Harness, Outcome};

/// Setting, deleting and adding leave the time to live of the key.
pub async fn hash_014_writing_keeps_the_time_to_live(harness: &Harness<dyn Hashes>) -> Outcome {
    whole::writing_keeps_the_time_to_live(harness).await
}

/// A hash expires whole, no later than the declared granularity.
pub async fn hash_015_an_expired_hash_is_gone_whole(harness: &Harness<dyn Hashes>) -> Outcome {
    whole::what_expired_is_gone_whole(harness).await
}

/// On a key that holds another type every operation is a conflict.
pub async fn hash_016_a_key_of_another_type_is_refused(harness: &Harness<dyn Hashes>) -> Outcome {
    whole::another_type_is_refused(harness).await
}

/// A field that racers set is new to one of them, and no field is lost.
pub async fn hash_017_racers_set_each_field_once(harness: &Harness<dyn Hashes>) -> Outcome {
    sharing::racers_add_each_member_once(harness).await
}

/// Scopes keep the fields of one key apart.
pub async fn hash_018_scopes_keep_hashes_apart(harness: &Harness<dyn Hashes>) -> Outcome {
    sharing::scopes_keep_members_apart(harness).await
}

/// Others see what a client set, also after its shutdown.
pub async fn hash_019_hashes_outlive_their_writer(harness: &Harness<dyn Hashes>) -> Outcome {
    sharing::members_outlive_their_writer(harness).await
}
