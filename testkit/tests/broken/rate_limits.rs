//! A rate-limit store that is broken on purpose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::rate_limit::{Decision, Quota, RateLimitStore, Take};
use infra_core::{Backend, Error, Result, async_trait};
use infra_testkit::conformance::{self, Breakage, Fixture, prove};
use tokio::time::Instant;

pub(crate) const FAMILY: &str = "rate_limits";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::rate_limits::SCENARIOS,
        &[
            broken(
                "LIMIT-001",
                LosesFractions,
                "loses the fraction of a token at each take",
            ),
            broken(
                "LIMIT-002",
                ForgetsTimeOfDenial,
                "credits the same time again after a denial",
            ),
            broken(
                "LIMIT-003",
                RetryAfterIsReset,
                "says when the bucket is full where it should say when the take can pass",
            ),
            broken(
                "LIMIT-004",
                HalvesReset,
                "says half the time until the bucket is full",
            ),
            broken(
                "LIMIT-005",
                DenialShowsCapacity,
                "shows a full bucket with each denial",
            ),
            broken(
                "LIMIT-006",
                DeniedTakesTheRest,
                "takes what there is when it denies",
            ),
            broken(
                "LIMIT-007",
                AcceptsAnyCost,
                "denies a cost that could never pass, without saying so",
            ),
            broken(
                "LIMIT-008",
                KeepsOldCapacity,
                "keeps more tokens than a smaller capacity holds",
            ),
            broken("LIMIT-009", GainsAtNewRate, "credits the past at the new rate"),
            broken("LIMIT-010", JoinsNames, "writes `:` as `_`"),
            broken(
                "LIMIT-011",
                ReadsThenWrites,
                "reads and writes a bucket in two steps",
            ),
            broken("LIMIT-012", TakesOneByOne, "takes from each bucket by itself"),
            broken(
                "LIMIT-013",
                ForgetsItsOwnTakes,
                "looks at each bucket as it was before the call",
            ),
            broken(
                "LIMIT-014",
                BucketsPerClient,
                "has buckets of its own in each client",
            ),
            broken(
                "LIMIT-015",
                TearsApart,
                "takes from several buckets in several steps",
            ),
            broken("LIMIT-016", WorksAfterShutdown, "goes on after its shutdown"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    LosesFractions,
    ForgetsTimeOfDenial,
    RetryAfterIsReset,
    HalvesReset,
    DenialShowsCapacity,
    DeniedTakesTheRest,
    AcceptsAnyCost,
    KeepsOldCapacity,
    GainsAtNewRate,
    JoinsNames,
    ReadsThenWrites,
    TakesOneByOne,
    ForgetsItsOwnTakes,
    BucketsPerClient,
    TearsApart,
    WorksAfterShutdown,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn RateLimitStore> {
    Breakage::new(breaks, words, move |_setup| async move {
        let shared = Arc::new(Store::new(defect));
        Ok(Fixture::in_process(move || {
            let store = if defect == Defect::BucketsPerClient {
                Arc::new(Store::new(defect))
            } else {
                Arc::clone(&shared)
            };
            async move { Ok(store as Arc<dyn RateLimitStore>) }
        }))
    })
}

/// Millionths of a token, and when they were counted.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    micro: u64,
    counted: Instant,
    quota: Quota,
}

/// Token buckets, written plainly so that each defect is one branch.
#[derive(Debug)]
struct Store {
    defect: Defect,
    buckets: Mutex<HashMap<String, Bucket>>,
    closed: AtomicBool,
    capabilities: Capabilities,
}

const MICRO: u64 = 1_000_000;

impl Store {
    fn new(defect: Defect) -> Self {
        Self {
            defect,
            buckets: Mutex::default(),
            closed: AtomicBool::new(false),
            capabilities: Capabilities::new(Limits::DEFAULT).with(Capability::AtomicAcrossKeys),
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn key(&self, key: &str) -> String {
        if self.is(Defect::JoinsNames) {
            key.replace(':', "_")
        } else {
            key.to_owned()
        }
    }

    /// The bucket as it is now, under `quota`.
    fn look(&self, key: &str, quota: Quota) -> Bucket {
        let now = Instant::now();
        let full = u64::from(quota.capacity()) * MICRO;
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = buckets.get(&self.key(key)) else {
            return Bucket {
                micro: full,
                counted: now,
                quota,
            };
        };
        let rate = if self.is(Defect::GainsAtNewRate) {
            quota
        } else {
            bucket.quota
        }
        .micro_rate();
        let gained = now.duration_since(bucket.counted).as_micros() * u128::from(rate) / u128::from(MICRO);
        let before = u64::from(bucket.quota.capacity()) * MICRO;
        let held = bucket
            .micro
            .saturating_add(u64::try_from(gained).unwrap_or(u64::MAX))
            .min(before);
        let micro = if self.is(Defect::KeepsOldCapacity) {
            held
        } else {
            held.min(full)
        };
        Bucket {
            micro,
            counted: now,
            quota,
        }
    }

    fn keep(&self, key: &str, mut bucket: Bucket) {
        if self.is(Defect::LosesFractions) {
            bucket.micro -= bucket.micro % MICRO;
        }
        self.buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.key(key), bucket);
    }

    fn deny(&self, key: &str, bucket: Bucket, cost: u32) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = buckets.get_mut(&self.key(key)) else {
            return;
        };
        if self.is(Defect::ForgetsTimeOfDenial) {
            kept.micro = bucket.micro;
        }
        if self.is(Defect::DeniedTakesTheRest) && cost > 1 {
            *kept = Bucket {
                micro: bucket.micro % MICRO,
                ..bucket
            };
        }
    }

    fn decide(&self, bucket: Bucket, cost: u32, allowed: bool) -> Decision {
        let (limit, cost) = (u64::from(bucket.quota.capacity()), u64::from(cost) * MICRO);
        let after = |micro: u64| Duration::from_micros((micro * MICRO).div_ceil(bucket.quota.micro_rate()));
        let missing = |micro: u64| after((limit * MICRO).saturating_sub(micro));
        if allowed {
            let left = bucket.micro - cost;
            let reset = if self.is(Defect::HalvesReset) {
                missing(left) / 2
            } else {
                missing(left)
            };
            return Decision::allow(limit, left / MICRO, reset);
        }
        let reset = missing(bucket.micro);
        let retry = if self.is(Defect::RetryAfterIsReset) {
            reset
        } else {
            after(cost.saturating_sub(bucket.micro))
        };
        let remaining = if self.is(Defect::DenialShowsCapacity) {
            limit
        } else {
            bucket.micro / MICRO
        };
        Decision::deny(limit, remaining, retry, reset)
    }

    fn check(&self, takes: &[Take]) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) && !self.is(Defect::WorksAfterShutdown) {
            return Err(Error::closed("the store"));
        }
        if self.is(Defect::AcceptsAnyCost) {
            return Ok(());
        }
        takes.iter().try_for_each(|take| take.quota.check_cost(take.cost))
    }
}

#[async_trait]
impl RateLimitStore for Store {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.check(takes)?;
        let mut seen: Vec<(String, Bucket)> = Vec::new();
        let mut decisions = Vec::new();
        let mut all = true;
        for take in takes {
            let key = self.key(&take.key);
            let known = seen
                .iter()
                .rposition(|(name, _)| *name == key)
                .filter(|_| !self.is(Defect::ForgetsItsOwnTakes));
            let bucket = known.map_or_else(|| self.look(&take.key, take.quota), |index| seen[index].1);
            let cost = u64::from(take.cost) * MICRO;
            let allowed = bucket.micro >= cost;
            all &= allowed;
            decisions.push(self.decide(bucket, take.cost, allowed));
            let left = if allowed {
                bucket.micro - cost
            } else {
                bucket.micro
            };
            if !allowed && takes.len() == 1 {
                self.deny(&take.key, bucket, take.cost);
            }
            seen.push((
                key,
                Bucket {
                    micro: left,
                    ..bucket
                },
            ));
        }
        if self.is(Defect::ReadsThenWrites) {
            tokio::task::yield_now().await;
        }
        for (index, (key, bucket)) in seen.into_iter().enumerate() {
            if all || (self.is(Defect::TakesOneByOne) && decisions[index].allowed) {
                self.keep(&key, bucket);
            }
            if self.is(Defect::TearsApart) && takes.len() > 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(decisions)
    }
}

#[async_trait]
impl Backend for Store {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        Ok(())
    }

    async fn shutdown(&self, _: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
