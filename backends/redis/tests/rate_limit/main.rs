//! Buckets on a real Redis as another program sees them: what is written, when, and for how long.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helper functions of tests fail like tests"
)]

mod buckets;
mod leases;
