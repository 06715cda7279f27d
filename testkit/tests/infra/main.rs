//! The set of fakes, what it does on command, and what it says about calls.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod calls;
mod connections;
mod consumers;
mod set;
mod unused;
