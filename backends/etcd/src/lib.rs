#![doc = include_str!("../README.md")]

mod client;
mod config;
mod config_center;
mod coordinator;
mod error;
mod held;
mod instance_ids;
mod instances;
mod keys;
mod leases;
mod locks;
mod register;
mod registrations;
mod registry;
mod tls;
mod watching;

pub use config::EtcdConfig;
pub use coordinator::EtcdCoordinator;
pub use etcd_client;
pub use register::register;

/// The backend's name, and the scheme of its URLs.
const BACKEND: &str = "etcd";
