#![doc = include_str!("../README.md")]

mod client;
mod config;
mod config_center;
mod coordinator;
mod error;
mod held;
mod instance_ids;
mod keys;
mod kv;
mod locks;
mod register;
mod registry;
mod services;
mod sessions;
mod tls;
mod watching;

pub use config::ConsulConfig;
pub use coordinator::ConsulCoordinator;
pub use register::register;

/// The backend's name, and the scheme of its URLs.
const BACKEND: &str = "consul";
