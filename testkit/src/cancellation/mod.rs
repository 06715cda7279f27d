//! Cancellation at every await point: poll a future so many times, drop it, and look whether anything is left of it.
//!
//! [`polls_then_drop`] stops one future at one await point. [`sweep`] does so at every await point of an operation, each time in a
//! fresh [`Ground`], and checks after each that no task, permit or gauge is left over, that what a user can see is as before the
//! operation or as after it, and that the same operation then works. Each family of operations ([`cache`], [`locks`] …) is a list of
//! [`Case`]s over one contract: [`every_case`] plays them for a backend, directly and behind the whole standard stack.
//!
//! This may touch tokio's runtime and clock and the traits of the core, nothing of a backend.

mod ground;
mod interrupt;
mod route;

pub mod cache;
pub mod coordination;
pub mod database;
pub mod loading;
pub mod local;
pub mod locks;
pub mod once;
pub mod queue;
pub mod rate_limit;
pub mod search;

pub use ground::{Act, Case, Ground, Sweep, every_case, sweep};
pub use interrupt::{End, Moment, polls_then_drop};
pub use route::{Route, Stepping};
