//! The conformance suite on SQLite: directly, behind each interceptor, behind the standard stack, and with faults.

mod backends;
mod databases;
mod shards;
