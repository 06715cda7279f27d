//! Wrong backends, which the reference models catch.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod caught;
mod transactions;
mod twisted_cache;
mod twisted_center;
mod twisted_queue;
