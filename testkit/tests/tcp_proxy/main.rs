//! The TCP proxy in front of real sockets, on the real clock.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod controls;
mod http;
mod lifecycle;
mod servers;
