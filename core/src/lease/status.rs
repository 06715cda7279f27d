//! Whether a lease is lost: what its holders and its renewal share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whether a lease is lost, without a lock and without a task having to run: also true from the moment at which the time
/// to live has passed since the last renewal, so that a process that was suspended finds out before it does anything.
#[derive(Debug, Clone)]
pub struct LeaseStatus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    lost: CancellationToken,
    ended: AtomicBool,
    validity: Validity,
}

/// Where the end of a lease is known.
#[derive(Debug)]
enum Validity {
    /// It is renewed by itself: until when it is valid, in nanoseconds after `granted_at`.
    Own {
        granted_at: Instant,
        valid_for: AtomicU64,
    },
    /// It stands on this one, and is lost with it.
    On(LeaseStatus),
}

impl LeaseStatus {
    pub(super) fn new(granted_at: Instant, ttl: Duration) -> Self {
        let validity = Validity::Own {
            granted_at,
            valid_for: AtomicU64::new(nanoseconds(ttl)),
        };
        Self::with(CancellationToken::new(), validity)
    }

    /// The status of something that stands on this lease: lost with it, or alone.
    pub(super) fn part(&self) -> Self {
        Self::with(self.shared.lost.child_token(), Validity::On(self.clone()))
    }

    fn with(lost: CancellationToken, validity: Validity) -> Self {
        Self {
            shared: Arc::new(Shared {
                lost,
                ended: AtomicBool::new(false),
                validity,
            }),
        }
    }

    /// Whether the loss of the lease is known; see [`Lease::is_lost`](super::Lease::is_lost).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
            || match &self.shared.validity {
                Validity::Own { .. } => self.remaining().is_zero(),
                Validity::On(lease) => lease.is_lost(),
            }
    }

    /// How long the lease is valid without another renewal.
    pub(super) fn remaining(&self) -> Duration {
        match &self.shared.validity {
            Validity::Own {
                granted_at,
                valid_for,
            } => Duration::from_nanos(valid_for.load(Ordering::Acquire)).saturating_sub(granted_at.elapsed()),
            Validity::On(lease) => lease.remaining(),
        }
    }

    pub(super) fn lost_token(&self) -> &CancellationToken {
        &self.shared.lost
    }

    /// Notes a renewal. What stands on another lease is extended with that one.
    pub(super) fn extend(&self, valid_until: Instant) {
        if let Validity::Own {
            granted_at,
            valid_for,
        } = &self.shared.validity
        {
            valid_for.store(
                nanoseconds(valid_until.duration_since(*granted_at)),
                Ordering::Release,
            );
        }
    }

    pub(super) fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.lost.cancel();
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
