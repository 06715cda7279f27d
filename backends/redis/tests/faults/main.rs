//! Campaigns of faults on a real server of a set of its own: it is killed and frozen, connections break.
//!
//! The short form takes seconds for each; `INFRA_FAULTS_ROUNDS=500 cargo test -p infra-redis --test faults` is the long one.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helper functions of tests fail like tests, and say what they saw"
)]

mod ground;
mod locks;
mod memory;
