//! The contracts, errors, configuration and decorators that a fleet of services stands on: no driver, no network client.
//!
//! Business code depends on the traits of this crate and holds them as `Arc<dyn Trait>`. `main` opens the backend crates behind
//! them, by hand or from a configuration. Start with the [`guide`]: each component in the few lines in which it is used.
//!
//! | Component | Module | What business code holds |
//! |---|---|---|
//! | Logs | [`log`] | the macros of `tracing` |
//! | Service registry, configuration centre, locks, elections, instance ids | [`coordination`] | [`Registry`](coordination::Registry), [`ConfigCenter`](coordination::ConfigCenter), [`Locks`](coordination::Locks) |
//! | Message queue | [`queue`] | [`Producer`](queue::Producer), [`Consumer`](queue::Consumer) |
//! | Database, sharded or not | [`database`] | [`Database`](database::Database) |
//! | Cache, bloom filters, atomic batches | [`cache`] | [`KeyValue`](cache::KeyValue) and its siblings, or [`Cache`](cache::Cache) |
//! | Unique ids | [`uid`] | [`UidProvider`](uid::UidProvider) |
//! | Rate limits | [`rate_limit`] | [`RateLimiter`](rate_limit::RateLimiter) |
//! | Idempotent operations | [`once`] | [`Once`](once::Once) |
//! | Circuit breakers, retries | [`breaker`], [`mod@retry`] | [`Breaker`](breaker::Breaker), a [`Policy`](retry::Policy) |
//! | Metrics, trace context | [`telemetry`] | [`Meter`](telemetry::Meter) |
//! | Search | [`search`] | [`Search`](search::Search) |
//!
//! What they have in common:
//!
//! - [`error`]: one [`Error`] with a kind, and whether repeating helps. [`capability`]: what a [`backend`] declares of itself.
//! - [`lease`], [`watch`], [`ttl`]: how things are held, followed and left to expire, the same way everywhere.
//! - [`intercept`](mod@intercept): traces, metrics, limits, retries and faults, written once for every trait, yours included.
//! - [`config`]: layered configuration with every problem reported at once, and hot reload.
//! - [`assembly`] and [`lifecycle`]: from a configuration to running components, and back down in reverse order.

// The macro's output says `::infra_core`, in this crate too.
extern crate self as infra_core;

pub mod assembly;
pub mod backend;
pub mod breaker;
pub mod cache;
pub mod capability;
pub mod config;
pub mod coordination;
pub mod database;
pub mod error;
pub mod guide;
mod hidden;
pub mod intercept;
mod json;
pub mod lease;
pub mod lifecycle;
pub mod log;
pub mod once;
pub mod queue;
pub mod rate_limit;
pub mod retry;
pub mod search;
mod sync;
pub mod telemetry;
pub mod ttl;
pub mod uid;
pub mod watch;

pub use async_trait::async_trait;
pub use backend::Backend;
pub use error::{Error, ErrorKind, Failure, Result, Retry};
pub use infra_macros::intercept;
pub use ttl::Ttl;
