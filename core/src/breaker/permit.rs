//! The permission to make one guarded call, given back whatever becomes of the call.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::contract::Breaker;

/// How a guarded call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The resource is well.
    Success,
    /// The resource is unwell.
    Failure,
    /// The call says nothing about the resource: the caller's fault, or given up.
    Ignored,
}

/// How a permit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It was given back without a record.
    Released,
    /// The call ended.
    Recorded {
        /// How it counts.
        outcome: Outcome,
        /// How long it took.
        elapsed: Duration,
        /// When it ended.
        at: Instant,
    },
}

/// What a breaker needs to recognise a permit again: a number whose meaning is the breaker's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// A ticket with this number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its number.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// The permission to make one call. Dropping it gives the place back and records nothing.
///
/// It borrows its breaker, so that a guarded call touches no reference counter. Whoever must keep it elsewhere takes the
/// [`Ticket`] out with [`into_ticket`](Self::into_ticket) and makes a permit of it again with [`resume`](Self::resume).
#[must_use = "a permit that is dropped at once guards nothing"]
pub struct Permit<'a> {
    breaker: &'a dyn Breaker,
    ticket: Ticket,
    time_limit: Option<Duration>,
}

impl<'a> Permit<'a> {
    /// A permit of `breaker`, for implementations of [`Breaker::try_acquire`].
    pub fn new(breaker: &'a dyn Breaker, ticket: Ticket) -> Self {
        Self {
            breaker,
            ticket,
            time_limit: None,
        }
    }

    /// The same permit for a call that must end within `limit`, or count as a failure.
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// The time within which the call must end; only probes of a half-open breaker have one.
    ///
    /// The holder gives the call up at that time and records a failure. A holder that does neither is found out by the
    /// breaker, which counts the probe as failed.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.time_limit
    }

    /// Records that the call ended just now, `elapsed` after it began.
    pub fn record(self, outcome: Outcome, elapsed: Duration) {
        self.record_at(outcome, elapsed, Instant::now());
    }

    /// Records that the call ended at `at`, for callers that have just read the clock.
    pub fn record_at(self, outcome: Outcome, elapsed: Duration, at: Instant) {
        let breaker = self.breaker;
        breaker.settle(self.into_ticket(), Settlement::Recorded { outcome, elapsed, at });
    }

    /// Takes the ticket out; nothing is given back until a permit that was [resumed](Self::resume) from it ends.
    #[must_use = "the place is lost until a permit is resumed from the ticket"]
    pub fn into_ticket(self) -> Ticket {
        let ticket = self.ticket;
        // Nothing in a permit owns anything: skipping its destructor leaks no memory.
        std::mem::forget(self);
        ticket
    }

    /// Makes a permit of a ticket that came from a permit of the same breaker. Its time limit is not restored.
    pub fn resume(breaker: &'a dyn Breaker, ticket: Ticket) -> Self {
        Self::new(breaker, ticket)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.breaker.settle(self.ticket, Settlement::Released);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("breaker", &self.breaker.name())
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}
