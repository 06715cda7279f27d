#![doc = include_str!("../docs/testing-a-service.md")]
//!
//! # The service
//!
//! ```no_run
#![doc = include_str!("../tests/worked_example/service.rs")]
//! ```
//!
//! # Its tests
//!
//! They stand in `tests/worked_example/main.rs` of this crate, and run with its tests.
//!
//! ```ignore
#![doc = include_str!("../tests/worked_example/main.rs")]
//! ```
