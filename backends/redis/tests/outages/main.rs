//! What a client sees of outages, on servers of the tests' own: nothing hangs past its deadline, nothing reported done was not done,
//! the errors tell what is known, and the client needs no restart.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail like tests"
)]

mod cluster;
mod ground;
mod network;
mod sentinel;
mod server;
