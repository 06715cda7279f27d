//! The command that starts real servers, on real servers: Redis, etcd and PostgreSQL, each test with a set of its own.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail like tests"
)]

mod command;
mod compose;
mod crash;
mod ground;
mod life;
mod secure;
