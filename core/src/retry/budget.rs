//! The retry budget: a bound on the share of repetitions among all calls, which stops retry storms.
//!
//! The idea is that of Finagle and of `tower::retry::budget`: every first attempt deposits a little, every repetition
//! withdraws a whole token, and what was deposited expires. Unlike a limit on attempts it bounds the *load* that retries
//! add: with a ratio of 0.2, a service that fails completely sees 1.2 times its usual calls, not three times.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::{Problems, Validate, humane};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// One repetition costs this much; a first attempt deposits `ratio` of it.
const TOKEN: i64 = 1_000;
/// Deposits expire in steps of a tenth of the time to live; of a half where every order of events is tried.
const SLOTS: usize = if cfg!(all(test, interleave)) { 2 } else { 10 };

/// How many repetitions all callers together may make.
///
/// Defaults: a fifth of the calls of the last ten seconds, and ten repetitions each second whatever the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetPolicy {
    /// How long a deposit counts; from 1 s to 60 s.
    #[serde(with = "humane")]
    pub ttl: Duration,
    /// Repetitions per second that are allowed whatever the traffic, so that quiet services can retry at all; at most 10000.
    pub min_per_second: u32,
    /// Repetitions allowed for each first attempt: 0.2 allows one for every five. From 0 to 1000.
    pub ratio: f64,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            min_per_second: 10,
            ratio: 0.2,
        }
    }
}

impl BudgetPolicy {
    /// The same budget with another time to live of deposits.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The same budget with another number of repetitions per second that are always allowed.
    #[must_use]
    pub fn with_min_per_second(mut self, repetitions: u32) -> Self {
        self.min_per_second = repetitions;
        self
    }

    /// The same budget with another number of repetitions for each first attempt.
    #[must_use]
    pub fn with_ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }
}

impl Validate for BudgetPolicy {
    /// Finds values outside the ranges of the fields.
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            (Duration::from_secs(1)..=Duration::from_secs(60)).contains(&self.ttl),
            "ttl",
            "must be between 1s and 60s",
        );
        problems.ensure(
            (0.0..=1_000.0).contains(&self.ratio),
            "ratio",
            "must be between 0 and 1000",
        );
        problems.ensure(
            self.min_per_second <= 10_000,
            "min_per_second",
            "must be at most 10000",
        );
    }
}

/// A budget shared by all callers of one service; clones share it.
///
/// Deposits and withdrawals are a few atomic operations; nobody waits for anybody. Concurrent withdrawals never take more
/// than there is; when they race for the last token, both may be refused.
///
/// ```
/// use infra_core::retry::{Budget, BudgetPolicy};
///
/// let budget = Budget::new(&BudgetPolicy::default().with_min_per_second(0).with_ratio(0.5));
/// assert!(!budget.withdraw());
/// budget.deposit();
/// budget.deposit();
/// assert!(budget.withdraw()); // one repetition for two calls
/// assert!(!budget.withdraw());
/// ```
#[derive(Clone)]
pub struct Budget {
    /// `None` is without limit.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    started: Instant,
    step: Duration,
    deposit: i64,
    reserve: i64,
    slots: [Slot; SLOTS],
}

impl Budget {
    /// Makes a budget; values outside their ranges are taken as the nearest inside.
    #[must_use]
    pub fn new(policy: &BudgetPolicy) -> Self {
        let ttl = policy.ttl.clamp(Duration::from_secs(1), Duration::from_secs(60));
        let ratio = if policy.ratio.is_nan() {
            0.0
        } else {
            policy.ratio.clamp(0.0, 1_000.0)
        };
        let reserve = f64::from(policy.min_per_second.min(10_000)) * ttl.as_secs_f64() * TOKEN as f64;
        Self {
            shared: Some(Arc::new(Shared {
                started: Instant::now(),
                step: ttl / SLOTS as u32,
                deposit: (ratio * TOKEN as f64).round() as i64,
                reserve: reserve as i64,
                slots: std::array::from_fn(|_| Slot::default()),
            })),
        }
    }

    /// A budget that never refuses.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { shared: None }
    }

    /// Takes note of a first attempt.
    pub fn deposit(&self) {
        self.deposit_at(Instant::now());
    }

    /// Takes note of a first attempt, for callers that have just read the clock.
    pub fn deposit_at(&self, now: Instant) {
        if let Some(shared) = &self.shared
            && shared.deposit > 0
        {
            let now = shared.generation_at(now);
            shared.slot(now).add(now, shared.deposit);
        }
    }

    /// Pays for one repetition; `false` when there is not enough.
    #[must_use = "a repetition that was not paid for must not be made"]
    pub fn withdraw(&self) -> bool {
        self.withdraw_at(Instant::now())
    }

    /// Pays for one repetition, for callers that have just read the clock.
    pub(super) fn withdraw_at(&self, now: Instant) -> bool {
        let Some(shared) = &self.shared else { return true };
        let now = shared.generation_at(now);
        let slot = shared.slot(now);
        // Take first and look afterwards: of several that race, the last to take sees what all the others took.
        let taken_in = slot.add(now, -TOKEN);
        // Two that take from different slots must not both read the other's as it was before.
        fence(Ordering::SeqCst);
        // What was taken must still have been there when the balance was read: a thread that is held up for a whole round
        // finds its slot begun anew.
        if shared.balance(now) >= 0 && slot.belongs_to(taken_in) {
            return true;
        }
        slot.give_back(taken_in, TOKEN);
        false
    }

    /// How many repetitions could be paid for now; `u64::MAX` without limit.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.shared.as_ref().map_or(u64::MAX, |shared| {
            u64::try_from(shared.balance(shared.generation()) / TOKEN).unwrap_or(0)
        })
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shared {
            Some(_) => write!(f, "Budget {{ available: {} }}", self.available()),
            None => f.write_str("Budget { unlimited }"),
        }
    }
}

impl Shared {
    /// The number of the current step of time, from 1 on; 0 marks a slot that was never written.
    fn generation(&self) -> u32 {
        self.generation_at(Instant::now())
    }

    fn generation_at(&self, now: Instant) -> u32 {
        // 64 bits of nanoseconds hold 584 years, and dividing 128 bits is ten times as dear.
        let since = now.saturating_duration_since(self.started).as_nanos() as u64;
        let steps = since / (self.step.as_nanos() as u64).max(1);
        // 60 s at the most for ten steps: this wraps after 800 years.
        (steps as u32).wrapping_add(1)
    }

    fn slot(&self, generation: u32) -> &Slot {
        &self.slots[generation as usize % SLOTS]
    }

    /// What is held at `now` and was written since, by threads that read the clock later.
    fn balance(&self, now: u32) -> i64 {
        let oldest = now.saturating_sub(SLOTS as u32 - 1);
        let held: i64 = self.slots.iter().map(|slot| slot.read(oldest)).sum();
        self.reserve + held
    }
}

/// What was deposited and withdrawn in one step of time: the step's number above, the balance (signed) below.
#[derive(Default)]
struct Slot(AtomicU64);

impl Slot {
    /// Adds an amount, and returns the generation that it counts for.
    fn add(&self, generation: u32, amount: i64) -> u32 {
        let mut current = self.0.load(Ordering::SeqCst);
        loop {
            let (written, balance) = unpack(current);
            // A thread that was held up for a whole round writes to a slot that has moved on; the amount goes there.
            let (generation, base) = if written >= generation {
                (written, balance)
            } else {
                (generation, 0)
            };
            let next = pack(generation, i64::from(base) + amount);
            match self
                .0
                .compare_exchange_weak(current, next, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => return generation,
                Err(seen) => current = seen,
            }
        }
    }

    fn belongs_to(&self, generation: u32) -> bool {
        unpack(self.0.load(Ordering::SeqCst)).0 == generation
    }

    /// Adds an amount that was taken in `generation`, unless that is over: then nothing is missing any more.
    fn give_back(&self, generation: u32, amount: i64) {
        let mut current = self.0.load(Ordering::SeqCst);
        loop {
            let (written, balance) = unpack(current);
            if written != generation {
                return;
            }
            let next = pack(written, i64::from(balance) + amount);
            match self
                .0
                .compare_exchange_weak(current, next, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => return,
                Err(seen) => current = seen,
            }
        }
    }

    fn read(&self, oldest: u32) -> i64 {
        let (written, balance) = unpack(self.0.load(Ordering::SeqCst));
        if written != 0 && written >= oldest {
            i64::from(balance)
        } else {
            0
        }
    }
}

fn pack(generation: u32, balance: i64) -> u64 {
    let balance = balance.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    u64::from(generation) << 32 | u64::from(balance as u32)
}

fn unpack(word: u64) -> (u32, i32) {
    ((word >> 32) as u32, word as u32 as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(min_per_second: u32, ratio: f64) -> Budget {
        Budget::new(
            &BudgetPolicy::default()
                .with_ttl(Duration::from_secs(10))
                .with_min_per_second(min_per_second)
                .with_ratio(ratio),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn repetitions_are_a_share_of_first_attempts() {
        let budget = budget(0, 0.2);
        for _ in 0..100 {
            budget.deposit();
        }
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn deposits_and_withdrawals_expire() {
        let budget = budget(1, 1.0);
        assert_eq!(
            (0..100).filter(|_| budget.withdraw()).count(),
            10,
            "the reserve of ten seconds"
        );
        for _ in 0..5 {
            budget.deposit();
        }
        assert_eq!(budget.available(), 5);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(budget.available(), 10, "back to the reserve");
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_and_unlimited_never_refuses() {
        let budget = budget(0, 1.0);
        budget.clone().deposit();
        assert!(budget.withdraw());
        assert!(!budget.clone().withdraw());
        assert!(Budget::unlimited().withdraw());
    }

    #[test]
    fn racing_withdrawals_never_take_more_than_there_is() {
        let budget = budget(0, 1.0);
        for _ in 0..1_000 {
            budget.deposit();
        }
        let taken: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| budget.withdraw()).count()))
                .collect();
            racers
                .into_iter()
                .map(|racer| racer.join().expect("no panic"))
                .sum()
        });
        assert!(taken <= 1_000, "{taken}");
        assert!(taken > 900, "{taken}");
    }

    #[test]
    fn extreme_values_do_not_wrap() {
        assert_eq!(unpack(pack(7, i64::MAX)), (7, i32::MAX));
        assert_eq!(unpack(pack(7, i64::MIN)), (7, i32::MIN));
        let wild = BudgetPolicy::default()
            .with_ratio(f64::NAN)
            .with_ttl(Duration::MAX)
            .with_min_per_second(u32::MAX);
        let budget = Budget::new(&wild);
        budget.deposit();
        assert_eq!(budget.available(), 600_000);
    }
}
