//! The cache on Redis, and whatever is built on it: strings, hashes, sets, sorted sets, bloom filters, batches, scripts, locks,
//! idempotency, rate limits.
#![doc = include_str!("../README.md")]

mod batches;
mod bloom;
mod cache;
mod client;
mod coalesce;
mod config;
mod connections;
mod dial;
mod error;
mod fence;
mod hashes;
mod key_space;
mod keys;
mod line;
mod locks;
mod masters;
mod notices;
mod once;
mod rate_limit;
mod raw_scripts;
mod register;
mod reply;
mod script;
mod sets;
mod slots;
mod sorted_sets;
mod strings;
mod tls;
mod two_tier;

pub use cache::RedisCache;
pub use config::{RedisConfig, Topology};
pub use once::RedisOnceStore;
pub use rate_limit::RedisRateLimitStore;
pub use redis;
pub use register::register;
pub use two_tier::TwoTierConfig;

/// The backend's name, and the scheme of its URLs.
pub(crate) const BACKEND: &str = "redis";
