//! Idempotent operations: the work behind a key is done once, and its result is given to everyone who asks again.

mod contract;

pub use contract::{
    Claim, ClaimRequest, Once, OnceOptions, OnceOutcome, OnceStatus, OnceStore, Waiting, Work,
};
