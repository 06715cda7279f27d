//! TLS and users, on a real Redis that wants both: the contract as on any other, and what is refused, how, and how often.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail like tests"
)]

mod conformance;
mod ground;
mod refused;
