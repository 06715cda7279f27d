//! The check of linearizability: what it accepts, what it refuses, and what it says of the backends in memory.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod against_permutations;
mod known;
mod memory;
