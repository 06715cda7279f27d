//! Campaigns of faults on real servers of a set of their own: leaders are killed, nodes freeze, connections break.
//!
//! The short form takes seconds for each; `INFRA_FAULTS_ROUNDS=500 cargo test -p infra-etcd --test faults` is the long one.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helper functions of tests fail like tests, and say what they saw"
)]

mod ground;
mod ids;
mod locks;
mod registrations;
mod watches;
