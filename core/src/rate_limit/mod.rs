//! Rate limits: token buckets, per process or for the whole fleet, by rules that change while the service runs.
//!
//! Business code asks a [`RateLimiter`] whether `resource` may go on under `rule`. [`Limiter`] is that component: it looks the
//! rule up and takes tokens out of [`LocalBuckets`], or out of a [`RateLimitStore`] that the fleet shares.
//!
//! A bucket holds at most `capacity` tokens and gains `rate` of them per second, so that no window of length *t* ever sees more
//! than `capacity + rate·t`.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use infra_core::rate_limit::{RateLimitConfig, LimiterDependencies, Limiter, RateLimiterExt, Rule};
//!
//! let config = RateLimitConfig::development().with_rule("send_message", Rule::new(30.0, 60));
//! let limiter = Limiter::new(config, LimiterDependencies::new())?;
//!
//! let decision = limiter.check("user:123", "send_message").await?;
//! assert!(decision.allowed);
//! assert_eq!((decision.limit, decision.remaining), (60, 59));
//!
//! let unknown = limiter.check("user:123", "send_mesage").await?;
//! assert!(!unknown.allowed); // a typing error does not open the gates
//! # Ok::<(), infra_core::Error>(()) }).unwrap();
//! ```

mod bucket;
mod config;
mod contract;
mod decide;
mod decision;
#[cfg(all(test, interleave))]
mod interleavings;
mod key;
mod lease;
mod limiter;
mod local;
mod purse;
mod quota;
mod rule;

#[cfg(test)]
mod tests;

pub use config::{OnFailure, RateLimitConfig, UnknownRule};
pub use contract::{Check, RateLimitStore, RateLimiter, RateLimiterExt, Take};
pub use decision::{Basis, Decision};
pub use lease::{LeaseConfig, TokenLeases};
pub use limiter::{Limiter, LimiterDependencies};
pub use local::LocalBuckets;
pub use quota::Quota;
pub use rule::{Mode, Rule, RuleFile};
