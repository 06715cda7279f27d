//! Campaigns can fail: each is run against what keeps its contract, and against what breaks it in one way.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail like tests"
)]

mod locks;
mod others;
mod toy;
