//! What is refused, and how the refusal reads.

use infra_core::cache::Sets;

use crate::conformance::collections::arguments;
use crate::conformance::{Harness, Outcome};

/// Empty or oversized keys and oversized members are refused, whether the server can be asked or not.
pub async fn set_014_bad_sizes_are_refused_without_the_server(harness: &Harness<dyn Sets>) -> Outcome {
    arguments::bad_sizes_are_refused_without_the_server(harness).await
}

/// The longest key and the largest member are taken, and come back whole.
pub async fn set_015_the_largest_key_and_member_fit(harness: &Harness<dyn Sets>) -> Outcome {
    arguments::the_largest_key_and_member_fit(harness).await
}

/// One member that is refused refuses them all.
pub async fn set_016_a_refused_write_changes_nothing(harness: &Harness<dyn Sets>) -> Outcome {
    arguments::a_refused_write_changes_nothing(harness).await
}

/// No error shows a member.
pub async fn set_017_errors_show_no_members(harness: &Harness<dyn Sets>) -> Outcome {
    arguments::errors_show_no_members(harness).await
}
