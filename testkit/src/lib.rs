#![doc = include_str!("../README.md")]

pub mod adding_a_backend;
mod calls;
pub mod campaigns;
pub mod cancellation;
pub mod conformance;
pub mod fuzz;
mod infra;
pub mod linearizability;
pub mod models;
pub mod servers;
pub mod skipped;
pub mod tcp_proxy;
pub mod testing_a_service;
pub mod time;
mod unique;

pub use calls::Calls;
pub use infra::{ServerFaults, TestInfra};
pub use unique::unique;
