#![doc = include_str!("../docs/add-a-backend.md")]
//!
//! # The toy backend
//!
//! It stands in `tests/toy_backend/toy.rs` of this crate; as a crate of its own it would be `src/lib.rs`.
//!
//! ```no_run
#![doc = include_str!("../tests/toy_backend/toy.rs")]
//! ```
//!
//! # Its tests
//!
//! They stand in `tests/toy_backend/main.rs` of this crate, and run with its tests.
//!
//! ```ignore
#![doc = include_str!("../tests/toy_backend/main.rs")]
//! ```
