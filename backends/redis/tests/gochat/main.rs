//! Beside services of GoChat on one Redis: what they write is understood, and what we write is what they look for. The other side are
//! keys written and read by hand, in the format that its code has.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helper functions of tests fail like tests"
)]

mod beside;
mod bloom;
mod locks;
mod rate_limit;
mod strings;
