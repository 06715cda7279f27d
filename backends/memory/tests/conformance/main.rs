//! The conformance suite on the memory backend: directly, behind each interceptor, behind the standard stack, and with faults.

mod backends;
mod bloom;
mod config_centers;
mod elections;
mod hashes;
mod instance_ids;
mod key_values;
mod limiters;
mod loading;
mod locks;
mod meters;
mod once;
mod queues;
mod rate_limits;
mod registries;
mod scripts;
mod servers;
mod sets;
mod sorted_sets;
mod watches;
