//! Shutdown, a server that is away, and calls that are dropped.

use infra_core::cache::SortedSets;

use crate::conformance::collections::lifecycle;
use crate::conformance::{Harness, Outcome};

/// After shutdown every call is refused.
pub async fn zset_033_after_shutdown_every_call_is_refused(harness: &Harness<dyn SortedSets>) -> Outcome {
    lifecycle::after_shutdown_every_call_is_refused(harness).await
}

/// While the server is away every call fails as unavailable.
pub async fn zset_034_an_unreachable_server_is_unavailable(harness: &Harness<dyn SortedSets>) -> Outcome {
    lifecycle::an_unreachable_server_is_unavailable(harness).await
}

/// A write of two members that is dropped was done or not.
pub async fn zset_035_a_dropped_write_is_done_or_not(harness: &Harness<dyn SortedSets>) -> Outcome {
    lifecycle::a_dropped_write_is_done_or_not(harness).await
}
