//! The arithmetic of one token bucket, exact in integers.
//!
//! Tokens are counted in millionths of millionths, times in microseconds: a microsecond at a rate of one millionth of a token
//! per second gains exactly one unit.

use std::time::Duration;

use super::decision::Decision;
use super::quota::Quota;

/// Units in one token. The largest capacity, a million tokens, is 10¹⁸ units and fits into 64 bits.
const UNITS: u64 = 1_000_000_000_000;

/// One bucket at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    quota: Quota,
    units: u64,
    /// Microseconds of the store's clock.
    at: u64,
}

impl Bucket {
    pub(super) fn full(quota: Quota, now: u64) -> Self {
        Self {
            quota,
            units: u64::from(quota.capacity()) * UNITS,
            at: now,
        }
    }

    /// Brings the bucket to the present, at the rate it had until now, and then under `quota`.
    pub(super) fn advance(&mut self, quota: Quota, now: u64) {
        self.refill(now);
        if quota != self.quota {
            self.quota = quota;
            self.units = self.units.min(self.most());
        }
    }

    fn refill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.at);
        let gained = u128::from(elapsed) * u128::from(self.quota.micro_rate());
        let missing = self.most() - self.units;
        self.units += u64::try_from(gained).unwrap_or(u64::MAX).min(missing);
        self.at = self.at.max(now);
    }

    /// Takes `cost` tokens if it holds that many.
    pub(super) fn take(&mut self, cost: u32) -> bool {
        let cost = u64::from(cost) * UNITS;
        let enough = self.units >= cost;
        if enough {
            self.units -= cost;
        }
        enough
    }

    /// Takes tokens back that were not used after all.
    pub(super) fn give_back(&mut self, cost: u32) {
        self.units = self
            .units
            .saturating_add(u64::from(cost) * UNITS)
            .min(self.most());
    }

    /// When it will be full, in microseconds of the store's clock.
    pub(super) fn full_at(&self) -> u64 {
        self.at
            .saturating_add(self.micros_to_gain(self.most() - self.units))
    }

    pub(super) fn allow(&self) -> Decision {
        Decision::allow(
            self.quota.capacity().into(),
            self.units / UNITS,
            self.reset_after(),
        )
    }

    /// The refusal of `cost` tokens, or the news that this bucket would have held them.
    pub(super) fn judge(&self, cost: u32) -> Decision {
        let missing = (u64::from(cost) * UNITS).saturating_sub(self.units);
        if missing == 0 {
            return self.allow();
        }
        let retry_after = Duration::from_micros(self.micros_to_gain(missing));
        Decision::deny(
            self.quota.capacity().into(),
            self.units / UNITS,
            retry_after,
            self.reset_after(),
        )
    }

    fn reset_after(&self) -> Duration {
        Duration::from_micros(self.micros_to_gain(self.most() - self.units))
    }

    fn most(&self) -> u64 {
        u64::from(self.quota.capacity()) * UNITS
    }

    fn micros_to_gain(&self, units: u64) -> u64 {
        units.div_ceil(self.quota.micro_rate())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(rate: f64, capacity: u64) -> Quota {
        Quota::new(rate, capacity).expect("a valid quota")
    }

    #[test]
    fn a_changed_quota_keeps_the_tokens_up_to_the_new_capacity() {
        let mut bucket = Bucket::full(quota(1.0, 10), 0);
        assert!(bucket.take(8));
        bucket.advance(quota(100.0, 100), 3_000_000);
        assert_eq!(
            bucket.allow().remaining,
            5,
            "gained at the old rate, not filled up"
        );
        bucket.advance(quota(100.0, 4), 3_000_000);
        assert_eq!(bucket.allow().remaining, 4);
    }

    #[test]
    fn no_time_and_no_rate_overflows() {
        let mut bucket = Bucket::full(quota(1e6, 1_000_000), 0);
        assert!(bucket.take(1_000_000));
        bucket.advance(quota(1e6, 1_000_000), u64::MAX);
        assert_eq!(bucket.allow().remaining, 1_000_000);
        bucket.advance(quota(1e-6, 1), 5);
        assert!(
            bucket.take(1),
            "a clock that stands still or steps back gains nothing and loses nothing"
        );
        assert_eq!(bucket.full_at(), u64::MAX);
    }

    proptest! {
        #[test]
        fn never_over_quota_in_any_window_and_the_wait_is_exact(
            rate in 0.01_f64..10_000.0,
            capacity in 1_u64..200,
            steps in prop::collection::vec((0_u64..2_000_000, 1_u32..5), 1..200),
        ) {
            let quota = quota(rate, capacity);
            let mut bucket = Bucket::full(quota, 0);
            let mut now = 0;
            let mut given: Vec<(u64, u64)> = Vec::new();
            for (pause, cost) in steps {
                now += pause;
                bucket.advance(quota, now);
                if u64::from(cost) > capacity {
                    continue;
                }
                if bucket.take(cost) {
                    given.push((now, cost.into()));
                } else {
                    let wait = bucket.judge(cost).retry_after.as_micros() as u64;
                    prop_assert!(wait > 0);
                    let mut early = bucket;
                    early.advance(quota, now + wait - 1);
                    prop_assert!(!early.take(cost), "a microsecond too early");
                    let mut due = bucket;
                    due.advance(quota, now + wait);
                    prop_assert!(due.take(cost), "at the time that was told");
                }
            }
            for (first, (from, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (until, cost) in &given[first..] {
                    sum += cost;
                    let bound = u128::from(capacity) * 1_000_000_000_000
                        + u128::from(until - from) * u128::from(quota.micro_rate());
                    prop_assert!(u128::from(sum) * 1_000_000_000_000 <= bound);
                }
            }
        }
    }
}
