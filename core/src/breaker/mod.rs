//! Circuit breakers: stop calling what is unwell, try it now and then, and go on when it has recovered.
//!
//! A [`Breaker`] stands before one protected resource and is one of three things: *closed* (calls pass and are counted), *open*
//! (calls are refused at once, with the time left), or *half-open* (a bounded number of probes pass). It opens on consecutive
//! failures, and on the share of failed or slow calls within a sliding window. The breaker goes outside the retry: one guarded
//! call is one operation with all its attempts.
//!
//! A guarded call takes no lock and does no I/O. [`Breakers`] holds a breaker per name and their policies, which can be
//! replaced at any time without losing the state of any breaker.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use infra_core::breaker::{BreakerExt, BreakerProvider, Breakers, BreakerConfig};
//! use infra_core::{Error, ErrorKind};
//!
//! let breakers = Breakers::new(BreakerConfig::development())?;
//! let users = breakers.breaker("grpc:user-service");
//!
//! let answer = users.call(|| async { Err::<(), _>(Error::new(ErrorKind::Unavailable, "connection refused")) }).await;
//! assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
//!
//! for _ in 0..4 {
//!     let _ = users.call(|| async { Err::<(), _>(Error::new(ErrorKind::Unavailable, "connection refused")) }).await;
//! }
//! let refused = users.call(|| async { Ok::<_, Error>("not called") }).await.unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::CircuitOpen);
//! # Ok::<(), Error>(()) }).unwrap();
//! ```

mod contract;
#[cfg(all(test, interleave))]
mod interleavings;
mod machine;
mod observe;
mod permit;
mod policy;
mod provider;
mod window;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use contract::outcome_of;
pub use contract::{Breaker, BreakerExt, BreakerProvider, Force, State, classify};
pub use observe::{Reason, Transition};
pub use permit::{Outcome, Permit, Settlement, Ticket};
pub use policy::Policy;
pub use provider::{BreakerConfig, Breakers, DEFAULT_POLICY, Snapshot};
