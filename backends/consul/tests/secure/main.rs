//! TLS on both sides and access control, on a real Consul that has both: what an ordinary token may do, and what is refused, how, and
//! how often.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail like tests"
)]

mod conformance;
mod ground;
mod refused;
