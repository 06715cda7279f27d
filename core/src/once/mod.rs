//! Idempotent operations: the work behind a key is done once, and its result is given to everyone who asks again.
//!
//! [`StoreOnce`] implements [`Once`] over any [`OnceStore`]; business code calls [`OnceExt`].

mod config;
mod contract;
mod extension;
mod store_once;

pub use config::OnceConfig;
pub use contract::{
    Claim, ClaimRequest, Once, OnceOptions, OnceOutcome, OnceStatus, OnceStore, Waiting, Work,
};
pub use extension::OnceExt;
pub use store_once::StoreOnce;
