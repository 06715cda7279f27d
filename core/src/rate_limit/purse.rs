//! The tokens of one bucket that a process holds, and how many it should take next.

use std::time::Duration;

use tokio::time::Instant;

use super::decision::Decision;
use super::quota::Quota;

/// Tokens under a lease.
#[derive(Debug)]
pub(super) struct Purse {
    quota: Quota,
    tokens: u32,
    /// When they are lost.
    ends: Instant,
    /// How many there were when the lease began.
    filled: u32,
    /// How many to take next.
    lot: u32,
    /// No take of so many tokens can pass before then.
    denied: Option<(u32, Instant)>,
    /// Whether the last way to the store took so long that leases are of no use.
    is_slow: bool,
    /// What the store said last, and when.
    told: Decision,
    at: Instant,
}

impl Purse {
    pub(super) fn new(quota: Quota, now: Instant) -> Self {
        Self {
            quota,
            tokens: 0,
            ends: now,
            filled: 0,
            lot: 1,
            denied: None,
            is_slow: false,
            told: Decision::allow(quota.capacity().into(), 0, Duration::ZERO),
            at: now,
        }
    }

    /// Whether forgetting it would lose something.
    pub(super) fn is_in_use(&self, now: Instant) -> bool {
        self.ends > now || self.denied.is_some_and(|(_, until)| until > now)
    }

    /// Tokens of another quota, and what was learnt under it, are given up.
    pub(super) fn be_under(&mut self, quota: Quota, now: Instant) {
        if quota != self.quota {
            *self = Self::new(quota, now);
        }
    }

    /// Decides without the store, if that is possible.
    pub(super) fn take(&mut self, cost: u32, now: Instant) -> Option<Decision> {
        self.expire(now);
        if self.tokens >= cost {
            return Some(self.spend(cost, now));
        }
        match self.denied {
            Some((denied, until)) if cost >= denied && until > now => {
                let wait = until - now;
                let reset_after = self.reset_after(now).max(wait);
                let held = self.told.remaining.min(u64::from(cost) - 1);
                Some(Decision::deny(self.told.limit, held, wait, reset_after))
            }
            _ => None,
        }
    }

    /// What was not used in time is lost, and as much is not taken again.
    fn expire(&mut self, now: Instant) {
        if now < self.ends || self.filled == 0 {
            return;
        }
        if self.tokens > 0 {
            self.lot = (self.filled - self.tokens).max(1);
        }
        (self.tokens, self.filled) = (0, 0);
    }

    /// How many tokens to take, when so many are wanted at once.
    pub(super) fn next_lot(&mut self, wanted: u32) -> u32 {
        if self.is_slow {
            return 1;
        }
        if self.filled > 0 {
            // Used up before its time.
            self.lot = self.lot.saturating_mul(2);
        }
        self.lot.max(wanted)
    }

    /// A lot was taken, with a lease from the time at which it was asked for, and `cost` of it is spent at once. What is left of the
    /// lot before, which was too little, is lost.
    pub(super) fn fill(
        &mut self,
        lot: u32,
        cost: u32,
        told: Decision,
        began: Instant,
        lease: Duration,
    ) -> Decision {
        let now = Instant::now();
        // Where the way to the store takes most of a lease, nothing is left of it to use the lot in.
        self.is_slow = now.duration_since(began) > lease / 2;
        (self.tokens, self.filled, self.lot) = (lot, lot, lot);
        (self.ends, self.told, self.at) = (began + lease, told, now);
        self.denied = None;
        self.spend(cost, now)
    }

    fn spend(&mut self, cost: u32, now: Instant) -> Decision {
        self.tokens = self.tokens.saturating_sub(cost);
        let left = self.told.remaining.saturating_add(self.tokens.into());
        Decision::allow(self.told.limit, left.min(self.told.limit), self.reset_after(now))
    }

    /// The store has denied `cost` tokens and `more`: it is not asked again before it can hold enough, and not for this pause.
    pub(super) fn deny(&mut self, cost: u32, more: u32, told: Decision, pause: Duration) -> Decision {
        let now = Instant::now();
        // Without the further tokens, so much sooner.
        let sooner = u64::from(more) * 1_000_000_000_000 / self.quota.micro_rate();
        let wait = told
            .retry_after
            .saturating_sub(Duration::from_micros(sooner))
            .max(pause);
        self.denied = now.checked_add(wait).map(|until| (cost, until));
        (self.told, self.at) = (told, now);
        Decision::deny(told.limit, told.remaining, wait, told.reset_after.max(wait))
    }

    fn reset_after(&self, now: Instant) -> Duration {
        self.told.reset_after.saturating_sub(now.duration_since(self.at))
    }
}
