//! Campaigns: hundreds of rounds of use while a real cluster is disturbed, with a record that knows what must never be seen.
//!
//! A scenario of the [conformance suite](crate::conformance) proves one behaviour on a quiet server. A campaign proves that what
//! a contract promises holds while leaders die, nodes freeze and connections break:
//!
//! - [`locks`]: at no instant do two clients believe, each with a valid lease, that they hold the lock; tokens strictly increase; a store
//!   that compares tokens refuses the stale one; nothing hangs.
//! - [`holders`]: the same for a holder whose whole process is stopped beyond its lease.
//! - [`ids`]: many instances that start at once get different numbers, and the number of a dead one comes back late enough.
//! - [`watches`]: a reader ends with the state of the server, and what it could not be told it was told that it missed.
//! - [`registrations`]: what was registered is found again after each fault.
//!
//! A campaign takes connected clients and [`Fault`]s, and gives a report, or the [`Violation`] that it saw. It starts and stops nothing
//! by itself: the backend's tests say what a fault is. Clocks: leases are measured by the kernel's monotonic clock (tokio's
//! `Instant`), which nobody can step and which goes on while a process is stopped; so a step of the wall clock changes nothing here,
//! and a stopped process is the fault that moves a clock.
//!
//! The short form runs in every test run. `INFRA_FAULTS_ROUNDS=500 cargo test --test faults` is the long form.

mod fault;
pub mod holders;
pub mod ids;
pub mod locks;
mod progress;
pub mod registrations;
pub mod watches;

pub use fault::Fault;

use std::fmt;

/// What must never be seen was seen: what, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(String);

impl Violation {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// The outcome of a campaign.
pub type Verdict<T> = Result<T, Violation>;

/// How many rounds to run: `INFRA_FAULTS_ROUNDS` where it is set to a number, else the short form's.
#[must_use]
pub fn rounds(short: usize) -> usize {
    let wanted = std::env::var("INFRA_FAULTS_ROUNDS");
    wanted.ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}
