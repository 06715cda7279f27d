#![doc = include_str!("../README.md")]

pub mod cancellation;
pub mod conformance;
mod infra;
pub mod linearizability;
pub mod models;
pub mod servers;
pub mod skipped;
pub mod tcp_proxy;
pub mod time;
mod unique;

pub use infra::TestInfra;
pub use unique::unique;
