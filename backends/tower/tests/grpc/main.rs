//! Channels over real servers on the loopback interface, with the registry of infra-memory.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop where they cannot go on"
)]

mod balance;
mod first;
mod node;
mod outages;
mod registry;
mod rolling;
