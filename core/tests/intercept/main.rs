//! The decorator mechanism from the outside: another crate's traits, the driver, the built-in interceptors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests too

mod builtin;
mod cancellation;
mod driver;
mod faults;
mod misuse;
mod observing;
mod signatures;
mod standard;
mod support;
