//! Repeating what failed: a policy, a budget that stops storms, and the decision itself as a plain function.
//!
//! An operation is repeated when its [`Error`](crate::Error) says that a repetition may succeed, never earlier than the error
//! asks, and, if it is not idempotent, only when the failed attempt certainly changed nothing. Under a breaker the order is
//! *breaker outside retry*: one guarded call is one operation with all its attempts.
//!
//! The delay sequences come from `backon`; jitter, budget and decision are here. Nothing in this module does I/O.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! use infra_core::retry::{self, Policy};
//! use infra_core::{Error, ErrorKind};
//!
//! let policy = Policy::development();
//! let budget = policy.new_budget(); // one per downstream service, shared by all its callers
//!
//! let mut calls = 0;
//! let profile = retry::run(&policy, &budget, || {
//!     calls += 1;
//!     let first = calls == 1;
//!     async move {
//!         if first { Err(Error::new(ErrorKind::Unavailable, "connection refused")) } else { Ok("profile") }
//!     }
//! })
//! .await?;
//! assert_eq!((profile, calls), ("profile", 2));
//! # Ok::<(), Error>(()) }).unwrap();
//! ```

mod attempts;
mod budget;
#[cfg(all(test, interleave))]
mod interleavings;
mod policy;
mod run;
mod shared;

pub use attempts::Attempts;
pub use budget::{Budget, BudgetPolicy};
pub use policy::{Backoff, Idempotence, Jitter, Policy};
pub use run::{run, run_not_idempotent};
pub use shared::{DEFAULT_POLICY, Policies, RetryConfig, SharedPolicy};
