//! Linearizability: did all that concurrent clients saw happen in some one order, each call at a moment between its start and its end?
//!
//! A [`Recorder`] notes what is called and answered, by any number of threads, on any backend; [`check`] searches an order of a
//! [`History`] that a sequential [`Model`] would have answered in the same way, and prints why there is none. The search is that of
//! Wing and Gong (1993) with Lowe's memory of positions already tried (2017), on each key by itself. A call whose answer was lost may
//! have taken effect at any moment after its start, or never.
//!
//! The workloads [`locks()`], [`key_value()`], [`config_center()`] and [`instance_ids()`] do all of it at once, in real time and on as many
//! threads as the runtime has:
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use infra_core::coordination::Locks;
//! use infra_testkit::linearizability::{self, WorkloadOptions};
//!
//! let server = infra_memory::MemoryCoordinator::new();
//! let clients: [Arc<dyn Locks>; 2] = [Arc::new(server.connect()), Arc::new(server.connect())];
//! let options = WorkloadOptions::new(1).with_calls(200);
//! linearizability::locks(&clients, &infra_testkit::unique("lin"), options).await.unwrap();
//! # });
//! ```
//!
//! Give bare clients to a workload, or ones with faults: behind an interceptor that repeats, one call is several, of which the history
//! shows one.

mod checker;
mod history;
mod lock;
mod number;
mod register;
mod versioned;
mod workload;

pub use checker::{Model, Summary, Verdict, Violation, check};
pub use history::{Call, Entry, History, Recorder};
pub use lock::{LockAnswer, LockModel, LockOperation};
pub use number::{NumberAnswer, NumberModel, NumberOperation};
pub use register::{RegisterAnswer, RegisterModel, RegisterOperation};
pub use versioned::{VersionedAnswer, VersionedModel, VersionedOperation};
pub use workload::{WorkloadOptions, config_center, instance_ids, key_value, locks};
