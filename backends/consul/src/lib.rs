#![doc = include_str!("../README.md")]

mod client;
mod config;
mod config_center;
mod coordinator;
mod error;
mod keys;
mod kv;
mod register;
mod watching;

pub use config::ConsulConfig;
pub use coordinator::ConsulCoordinator;

/// The backend's name, and the scheme of its URLs.
const BACKEND: &str = "consul";
