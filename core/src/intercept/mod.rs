//! The one decorator mechanism: every cross-cutting concern is written once and works for every trait.
//!
//! The attribute macro [`intercept`](macro@crate::intercept) makes a trait interceptable. A [`Stack`] is an ordered list of
//! [`Interceptor`]s; [`Stack::wrap`] turns an `Arc<dyn Trait>` into one whose calls go through the stack. **The first
//! interceptor added is the outermost: it sees a call first and its outcome last.**
//!
//! An interceptor can observe a call, delay it, refuse it, bound its time, repeat it and replace its outcome, and it is
//! told of every end of a call, cancellation included. Its state is its own and is shared by everything that it is
//! wrapped around; a [`Proxy`] is only a projection.
//!
//! With an empty stack a call costs one branch: the future of the implementation is handed on as it is. With any number of
//! interceptors it costs one more boxed future, not one for each.

mod breaker;
mod concurrency;
mod faults;
mod interceptor;
mod log;
mod method;
mod metrics;
mod per_method;
mod proxy;
mod recorder;
mod retry;
mod stack;
mod standard;
mod timeout;
mod trace;
mod walk;

#[doc(hidden)]
pub mod support;

pub use breaker::CircuitBreaking;
pub use concurrency::ConcurrencyLimit;
pub use faults::{Fault, FaultTarget, Faults, UnusedFault};
pub use interceptor::{Enter, Exit, Failed, Interceptor, Outcome, Role, Scope, State, Status, Waiting};
pub use log::Log;
pub use method::{Call, Method};
pub use metrics::{Metrics, OPERATION_ACTIVE, OPERATION_DURATION, OPERATION_RETRIES};
pub use proxy::Proxy;
pub use recorder::{Recorded, Recorder};
pub use retry::Retrying;
pub use stack::Stack;
pub use standard::{ConcurrencyConfig, StackConfig, StandardStack};
pub use timeout::Timeout;
pub use trace::Trace;
