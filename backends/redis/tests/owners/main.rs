//! Whatever has one owner at a time, on a real Redis: what it costs, what is told, and what becomes of it when an owner dies or a reply
//! is lost.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helper functions of tests fail like tests, and say what they saw"
)]

mod crashes;
mod locks;
mod once;
mod server;
