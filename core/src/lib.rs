//! The contracts, errors, configuration and decorators that a fleet of services stands on: no driver, no network client.

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
pub mod telemetry;
pub mod ttl;
pub mod uid;
pub mod watch;

pub use async_trait::async_trait;
pub use backend::Backend;
pub use error::{Error, ErrorKind, Failure, Result, Retry};
pub use infra_macros::intercept;
pub use ttl::Ttl;
