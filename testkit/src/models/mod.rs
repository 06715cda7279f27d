//! Random schedules against models that are too simple to be wrong, for any backend.
//!
//! A model is a plain map that does what the contract says. Each function here makes schedules of operations from a seed, does them to
//! the backend and to the model, compares every answer, and gives the shortest schedule that it can find when the two disagree:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use infra_testkit::conformance::TimeControl;
//! use infra_testkit::models::{self, ModelOptions};
//!
//! let cache = Arc::new(infra_memory::MemoryCache::new());
//! models::cache_strings(cache, "test", TimeControl::Virtual, ModelOptions::new(1).with_cases(10)).await.unwrap();
//! # });
//! ```
//!
//! Every schedule works in a namespace of its own under the given one, so that a server can be shared. A model function never panics:
//! it returns a [`Failure`](crate::conformance::Failure) whose message is the schedule, step by step, with the answers that differ.

mod cache;
mod config_center;
mod database;
mod explore;
mod queue;

pub use cache::{cache_batches, cache_hashes, cache_sets, cache_sorted_sets, cache_strings};
pub use config_center::config_center;
pub use database::database;
pub use explore::ModelOptions;
pub use queue::queue;
